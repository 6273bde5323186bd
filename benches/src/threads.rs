//! Threads of a run, and what they have to say at its end.

use std::thread::ScopedJoinHandle;

use anyhow::{Result, anyhow};

/// What this one has to say, once it has ended.
pub fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
}

/// What all of them have to say, once each has ended. They are a list, so that all have begun.
pub fn join_all<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let outcomes: Vec<Result<T>> = threads.into_iter().map(join).collect();
    outcomes.into_iter().collect()
}

/// What came of both ends. What goes wrong shows at both, and either may know the cause.
pub fn both_ends<T, U>(clients: Result<T>, targets: Result<U>) -> Result<(T, U)> {
    match (clients, targets) {
        (Ok(clients), Ok(targets)) => Ok((clients, targets)),
        (Err(client), Ok(_)) => Err(client),
        (Ok(_), Err(target)) => Err(target.context("a target")),
        (Err(client), Err(target)) => Err(anyhow!("{client:#}; a target: {target:#}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn all_have_ended_when_one_has_failed() {
        let ended = AtomicBool::new(false);
        let outcome = thread::scope(|scope| {
            let failing = scope.spawn(|| Err::<(), _>(anyhow!("broken")));
            let other = scope.spawn(|| {
                ended.store(true, Ordering::Relaxed);
                Ok(())
            });
            let outcome = join_all(vec![failing, other]);
            assert!(ended.load(Ordering::Relaxed));
            outcome
        });
        assert_eq!(outcome.unwrap_err().to_string(), "broken");
    }

    #[test]
    fn what_went_wrong_at_either_end_is_said() {
        let said = |clients: Result<u8>, targets: Result<u8>| {
            format!("{:#}", both_ends(clients, targets).unwrap_err())
        };
        assert_eq!(both_ends(Ok(1), Ok(2)).unwrap(), (1, 2));
        assert_eq!(said(Err(anyhow!("late")), Ok(2)), "late");
        assert_eq!(said(Ok(1), Err(anyhow!("full"))), "a target: full");
        assert_eq!(said(Err(anyhow!("late")), Err(anyhow!("full"))), "late; a target: full");
    }
}
