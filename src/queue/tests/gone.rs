//! Files that are gone, or were: noticed at the start and while the queue runs.

use super::*;

fn open(directory: &Path) -> Result<Queue, OpenError> {
    Queue::open(&settings(directory), Clock::manual(START))
}

#[tokio::test]
async fn a_directory_without_a_mark_opens_and_has_one_from_then_on() {
    let case = Case::open();
    case.put(&message("a")).await;
    let mark = case.directory.path().join("queue.mark");
    assert!(fs::read_to_string(&mark).unwrap().ends_with(" open\n"));
    case.queue.close().await;
    assert!(fs::read_to_string(&mark).unwrap().ends_with(" closed\n"));
    fs::remove_file(&mark).unwrap();
    let queue = open(case.directory.path()).unwrap();
    assert_eq!(queue.waiting(&target()), 1);
    assert!(mark.exists());
}

#[tokio::test]
async fn another_queues_file_in_its_place_is_told() {
    let (case, other) = (Case::open(), Case::open());
    case.put(&message("a")).await;
    case.queue.close().await;
    other.queue.close().await;
    fs::copy(other.directory.path().join(FILE_NAME), case.directory.path().join(FILE_NAME)).unwrap();
    let error = open(case.directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Lost { .. }) && !error.may_pass(), "{error}");
    assert!(error.to_string().contains("queue.mark"), "{error}");
    fs::remove_file(case.directory.path().join("queue.mark")).unwrap();
    open(case.directory.path()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_moved_away_takes_nothing_until_it_is_back() {
    let case = Case::open();
    case.put(&message("a")).await;
    let (path, away) = (case.directory.path().join(FILE_NAME), case.directory.path().join("away"));
    fs::rename(&path, &away).unwrap();
    assert_eq!(case.queue.enqueue(entry(&message("b"))).await, Err(QueueError::Gone { path: path.clone() }));
    assert_eq!(case.queue.gone(), Some(path.clone()));
    // What is there is handed out all the same.
    assert_eq!(case.leased().await, ["a"]);
    fs::write(&path, "another").unwrap();
    assert!(matches!(case.queue.enqueue(entry(&message("b"))).await, Err(QueueError::Gone { .. })));
    fs::rename(&away, &path).unwrap();
    case.put(&message("b")).await;
    assert_eq!(case.queue.gone(), None);
}
