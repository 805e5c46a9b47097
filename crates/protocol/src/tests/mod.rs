//! The machine is driven by scripts that people can read, and by random histories.

mod histories;
mod scripts;

use super::*;

/// A worker with so many cores and so much memory.
fn settings(cores: u32, memory: ByteSize) -> Settings {
    Settings {
        machine_key: [7; 16],
        name: "desk".to_owned(),
        cores,
        memory,
        speed: Speed(2_000_000_000),
        engine: EngineId("engine/1".to_owned()),
        ask: Price::ONE_CREDIT,
    }
}

fn from_hub(message: from_hub::Message) -> FromHub {
    FromHub { message: Some(message) }
}

/// A job as the hub describes it; jobs with a task list have runs with files of their own.
fn job(id: JobId, memory: ByteSize, task_list: bool) -> FromHub {
    from_hub(from_hub::Message::Job(link::Job {
        job_id: id.0,
        module: vec![1; 32],
        task_list: if task_list { vec![2; 32] } else { Vec::new() },
        fuel: 1_000_000,
        memory_bytes: memory.0,
        wall_ms: 1_000,
        output_bytes: 1_000_000,
        ..link::Job::default()
    }))
}

/// A run that exited well and wrote `output` bytes.
fn done(run: RunId, wall: Duration, output: usize) -> Finished {
    Finished {
        run,
        ending: pumasi_types::Ending::Exited { code: 0 },
        fuel: Fuel(100),
        wall,
        result: TaskOutput::default().result_hash(),
        output: Bytes::from(vec![1; output]),
        fault: None,
    }
}

impl<J: Clone, F> Protocol<J, F> {
    /// Panics unless the invariants hold that can be seen from inside.
    fn sanity_check(&self) {
        self.jobs.sanity_check();
        assert!(self.batches.len() <= self.settings.cores as usize, "more batches than cores");
        let memory: u64 = self.batches.values().map(|running| running.memory).sum();
        assert_eq!(memory, self.memory_used);
        assert!(memory <= self.settings.memory.0, "more memory than the worker has");
        let uploading: usize = self.uploads.values().map(|finished| finished.output.len()).sum();
        assert_eq!(uploading, self.upload_bytes);
        for run in self.jobs.queued().chain(self.fetching.keys().copied()) {
            assert!(self.held.contains_key(&run), "run {run} is queued but not held");
        }
    }
}
