//! What a lease costs does not depend on how many entries there are: no statement of it walks a table or sorts.

use super::*;
use crate::queue::leasing;

#[tokio::test]
async fn every_step_of_a_lease_goes_down_its_index_and_sorts_nothing() {
    let case = Case::open();
    let file = case.file();
    for (what, statement, index) in [
        ("wake", leasing::WAKE, "entries_asleep (target=? AND urgency=? AND wake_at<?)"),
        ("expire", leasing::EXPIRE, "entries_ready (target=? AND urgency=? AND expires_at<?)"),
        ("pick", leasing::PICK, "entries_turns (target=? AND urgency=? AND server=? AND expires_at>?)"),
        (
            "pick what ends",
            leasing::PICK_ENDING,
            "entries_ready (target=? AND urgency=? AND expires_at>? AND expires_at<?)",
        ),
        ("next server", leasing::NEXT_SERVER, "entries_turns (target=? AND urgency=? AND server>?)"),
        ("is ready", leasing::IS_READY, "entries_ready (target=? AND urgency=?)"),
        ("next", leasing::NEXT, "entries_asleep (target=? AND urgency=? AND wake_at>?)"),
    ] {
        let mut plan = file.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let parameters = rusqlite::params!["t", 1, 2, 3, 4];
        let steps: Vec<String> = plan
            .query_map(&parameters[..plan.parameter_count()], |row| row.get(3))
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        let [step] = &steps[..] else { panic!("{what}: {steps:?}") };
        assert!(step.contains(index) && step.starts_with("SEARCH"), "{what}: {step}");
    }
}
