//! However many ids, signatures and threads: memory and work stay within their bounds.

use super::*;

fn suspects(learned: &Learned) -> usize {
    learned.state().servers.iter().map(|(_, server)| server.keys.suspects.len()).sum()
}

#[test]
fn beyond_the_bound_the_one_that_hardly_sent_makes_room() {
    let (_directory, learned) = fresh(Limits { max_servers: 2, ..Limits::default() });
    let event = |server: &str, second| learned.observe(&id(server), Sent::Unsigned, NOW + second).server;
    assert_eq!(event("one", 0), Some(Event::NewServer));
    assert_eq!(event("two", 0), Some(Event::NewServer));
    assert_eq!(event("one", 1), None);
    assert_eq!(event("three", 2), Some(Event::ServerBeyondBound));
    assert_eq!(event("one", 3), None, "it sent twice");
    assert_eq!(event("two", 4), Some(Event::ServerBeyondBound), "it was forgotten");
    let report = learned.report();
    assert_eq!((report.servers.len(), report.forgotten), (2, 2));
    assert!(learned.forget(&id("two")));
    assert!(!learned.forget(&id("two")));
}

#[test]
fn no_flood_of_made_up_ids_keeps_a_real_server_out_or_pushes_it_out() {
    let (_directory, learned) = fresh(Limits { max_servers: 100, ..Limits::default() });
    let mut life = Life::new();
    let flood = |from: u64| {
        for n in from..from + 500 {
            learned.observe(&id(&format!("made-up-{n}")), Sent::Unsigned, NOW + n);
        }
    };
    flood(0);
    // It comes when all is full, and a little of the flood comes between each of its pushes.
    for from in 1..10 {
        life.step(&learned, 'A');
        learned.observe(&id(&format!("between-{from}")), Sent::Unsigned, NOW + 500);
    }
    flood(1_000);
    let report = learned.report();
    assert!(report.servers.len() <= 100, "{}", report.servers.len());
    assert!(report.servers.iter().any(|server| server.id == id(ID)), "the real one is there");
    assert!(learned.adoptable(&id(ID)).is_ok(), "with its key");
}

#[test]
fn an_id_that_is_too_long_or_would_play_with_a_terminal_is_counted_and_not_kept() {
    let (_directory, learned) = fresh(Limits::default());
    let long = "a".repeat(MAX_ID_BYTES);
    let cases = [
        (long.as_str(), Event::NewServer),
        (&format!("{long}a"), Event::UnusableServerId),
        ("chat\u{1b}[2J", Event::UnusableServerId),
        ("chat\n", Event::UnusableServerId),
        ("größe", Event::UnusableServerId),
        ("turned\u{202e}about", Event::UnusableServerId),
        ("two words", Event::UnusableServerId),
    ];
    for (server, event) in cases {
        assert_eq!(learned.observe(&id(server), Sent::Unsigned, NOW).server, Some(event), "{server:?}");
    }
    let report = learned.report();
    assert_eq!((report.servers.len(), report.unusable_ids), (1, 6));
}

#[test]
fn a_flood_of_ids_gets_a_log_line_a_minute() {
    let (_directory, learned) = fresh(Limits { max_servers: 1, ..Limits::default() });
    assert!(learned.observe(&id("one"), Sent::Unsigned, NOW).log);
    assert!(!learned.observe(&id("one"), Sent::Unsigned, NOW).log, "nothing new");
    let logged = |second| learned.observe(&id(&format!("made-up-{second}")), Sent::Unsigned, NOW + second).log;
    let lines: Vec<_> = (0..130).filter(|second| logged(*second)).collect();
    assert_eq!(lines, [0, 60, 120]);
}

#[test]
fn a_flood_of_bad_signatures_gets_a_log_line_a_minute() {
    let (_directory, learned) = fresh(Limits::default());
    let mut life = Life::new();
    assert!(life.step(&learned, 'A').log);
    assert!(!life.step(&learned, 'S').log, "before there is a key, strangers are not worth a line each");
    assert!(life.step(&learned, 'A').log);
    assert!(!life.step(&learned, 'A').log);
    let lines = (0..130).filter(|_| life.step(&learned, 'G').log).count();
    assert_eq!(lines, 3);
    assert_eq!(report_of(&learned).mismatches, 131, "each is counted, the stranger's before as well");
}

#[test]
fn signatures_of_one_server_are_looked_at_so_often_per_second() {
    let limits = Limits { comparisons_per_server: 5, recoveries_per_server: 2, ..Limits::default() };
    let (_directory, learned) = fresh(limits);
    let (key, other) = (SigningKey::generate(), SigningKey::generate());
    Push::signed(&key, 1).observed_by(&learned, ID, NOW);
    Push::signed(&key, 2).observed_by(&learned, ID, NOW);
    Push::signed(&key, 3).observed_by(&learned, ID, NOW);
    assert!(learned.adoptable(&id(ID)).is_ok(), "two recoveries are enough to learn within a second");
    for second in 1..=2 {
        let spoofs: Vec<_> = (0..20)
            .filter_map(|n| Push::signed(&other, 100 * second + n).observed_by(&learned, ID, NOW + second).key)
            .collect();
        assert_eq!(spoofs, [Event::PossibleSpoof; 5]);
    }
    let report = report_of(&learned);
    assert_eq!((report.pushes, report.signed, report.mismatches), (43, 43, 10), "all are counted");
    assert_eq!(learned.state().servers[0].1.keys.suspects[0].signatures, 4, "two recoveries a second");
}

#[test]
fn signatures_of_all_servers_are_looked_at_so_often_per_second() {
    let limits = Limits { comparisons: 3, recoveries: 4, ..Limits::default() };
    let (_directory, learned) = fresh(limits);
    let key = SigningKey::generate();
    let send = |second| {
        let observe = |n: u64| Push::signed(&key, 10 * second + n).observed_by(&learned, &n.to_string(), NOW + second);
        (0..6).map(observe).filter(|observation| observation.key.is_some()).count()
    };
    assert_eq!(send(0), 4, "the first signatures of four");
    assert_eq!(send(1), 4, "the second ones of four");
    assert_eq!(send(2), 2, "the first ones of two more");
    assert_eq!(send(3), 2, "the second ones of two more");
    let compared = || {
        let report = learned.report();
        report
            .servers
            .iter()
            .map(|s| if let KeyStanding::Learned { signatures, .. } = s.key { signatures } else { 0 })
            .sum()
    };
    let before: u64 = compared();
    send(4);
    assert_eq!(compared() - before, 3);
}

#[test]
fn a_hundred_strangers_leave_no_more_than_three_suspects() {
    let limits = Limits { recoveries_per_server: 1_000, recoveries: 1_000, ..Limits::default() };
    let (_directory, learned) = fresh(limits);
    for number in 0..100 {
        Push::signed(&SigningKey::generate(), number).observed_by(&learned, ID, NOW + number);
    }
    assert_eq!(suspects(&learned), keys::MAX_SUSPECTS);
}

#[test]
fn threads_count_every_push_and_agree_on_the_key() {
    let (_directory, learned) = fresh(Limits::default());
    let key = SigningKey::generate();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (learned, key) = (&learned, &key);
            scope.spawn(move || {
                for n in 0..100 {
                    Push::signed(key, 1_000 * thread + n).observed_by(learned, ID, NOW + n);
                    learned.observe(&id(&format!("server-{n}")), Sent::Unsigned, NOW + n);
                }
            });
        }
    });
    let report = learned.report();
    assert_eq!(report.servers.len(), 101);
    let server = report.servers.iter().find(|server| server.id.as_str() == ID).unwrap();
    assert_eq!((server.pushes, server.signed, server.mismatches), (400, 400, 0));
    assert_eq!(server.adoptable, Ok(key.verifying_key()));
    assert!(report.servers.iter().filter(|server| server.id.as_str() != ID).all(|server| server.pushes == 4));
}
