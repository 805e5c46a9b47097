//! Work in two halves, one thing after another: what makes and what takes run side by side where threads may.

use std::ops::ControlFlow;
use std::sync::mpsc;

/// How many things wait between the halves at most.
const WAITING: usize = 4;

/// Hands everything that `make` makes to `take`, in order. With `threads`, `make` runs on a thread of its own. It is told
/// to break off when `take` has failed.
///
/// # Errors
/// That of `take`; else that of `make`, after everything made before it was taken.
pub(crate) fn pipe<T: Send, E: Send>(
    threads: bool,
    make: impl FnOnce(&mut dyn FnMut(T) -> ControlFlow<()>) -> Result<(), E> + Send,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    if !threads {
        let mut failed = Ok(());
        let made = make(&mut |item| {
            failed = take(item);
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        return failed.and(made);
    }
    std::thread::scope(|scope| {
        let (to, made) = mpsc::sync_channel(WAITING);
        let maker = scope.spawn(move || {
            make(&mut |item| match to.send(item) {
                Ok(()) => ControlFlow::Continue(()),
                Err(mpsc::SendError(_)) => ControlFlow::Break(()),
            })
        });
        let taken = made.into_iter().try_for_each(take);
        taken.and(maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the numbers from 0 until it is told to break off, or fails at `until`.
    fn numbers(until: u32) -> impl FnOnce(&mut dyn FnMut(u32) -> ControlFlow<()>) -> Result<(), u32> + Send {
        move |hand| {
            for n in 0..until {
                if hand(n).is_break() {
                    return Ok(());
                }
            }
            Err(until)
        }
    }

    #[test]
    fn all_is_taken_in_order_before_the_makers_error_is_told() {
        for threads in [false, true] {
            let mut taken = Vec::new();
            let result = pipe(threads, numbers(100), |n| {
                taken.push(n);
                Ok(())
            });
            assert_eq!((result, taken), (Err(100), (0..100).collect()));
        }
    }

    #[test]
    fn who_makes_breaks_off_when_who_takes_fails() {
        for threads in [false, true] {
            let result = pipe(threads, numbers(u32::MAX), |n| if n == 7 { Err(7) } else { Ok(()) });
            assert_eq!(result, Err(7));
        }
    }
}
