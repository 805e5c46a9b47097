//! Interrupts guests now and then, so that wall-clock limits and stops take effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// Time between two looks at limits and stops.
const PERIOD: Duration = Duration::from_millis(5);
/// Periods without a run after which the thread sleeps until the next run.
const IDLE_PERIODS: u32 = 20;

/// A thread that moves an engine's epoch while guests run; ends with the engine.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    closed: AtomicBool,
}

/// Keeps the ticker awake while a guest runs.
pub(super) struct Running<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread.
    pub(super) fn start(engine: EngineWeak) -> std::io::Result<Ticker> {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("pumasi-ticker".to_owned())
            .spawn(move || tick(&for_thread, &engine))?
            .thread()
            .clone();
        Ok(Ticker { shared, thread })
    }

    /// Announces a run.
    pub(super) fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn tick(shared: &Shared, engine: &EngineWeak) {
    let mut idle = 0;
    loop {
        let running = shared.running.load(Ordering::SeqCst) > 0;
        idle = if running { 0 } else { idle + 1 };
        if idle > IDLE_PERIODS {
            shared.asleep.store(true, Ordering::SeqCst);
            // Look once more: a run that began before `asleep` was set did not wake this thread.
            if shared.running.load(Ordering::SeqCst) == 0 {
                std::thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
        std::thread::sleep(PERIOD);
        match engine.upgrade() {
            Some(engine) if !shared.closed.load(Ordering::SeqCst) => engine.increment_epoch(),
            _ => return,
        }
    }
}
