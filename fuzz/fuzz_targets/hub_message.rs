//! What a hub says to a worker, message by message, and what the worker's protocol makes of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use pumasi_api::link::FromHub;
use pumasi_protocol::{Input, Output, Protocol, Settings};
use pumasi_types::{ByteSize, EngineId, Price, Speed, Time};

fn settings() -> Settings {
    Settings {
        machine_key: [1; 16],
        name: "fuzzed".to_owned(),
        cores: 2,
        memory: ByteSize::mib(1024),
        speed: Speed(1_000_000_000),
        engine: EngineId("engine".to_owned()),
        ask: Price(1),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut worker: Protocol<u8, u8> = Protocol::new(settings(), Time(0));
    let mut inputs = std::collections::VecDeque::from([Input::LinkUp]);
    let (mut rest, mut out, mut now) = (data, Vec::new(), 0);
    for _ in 0..1000 {
        let input = match inputs.pop_front() {
            Some(input) => input,
            // Each message is as long as the byte before it says.
            None => match rest.split_first() {
                Some((length, behind)) => {
                    let (bytes, behind) = behind.split_at((*length as usize).min(behind.len()));
                    rest = behind;
                    FromHub::decode(bytes).map_or(Input::Tick, Input::Hub)
                }
                None => return,
            },
        };
        now += 1_000_000;
        worker.step(Time(now), input, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Prepare(spec) => inputs.push_back(Input::Prepared { spec, result: Ok(1) }),
                Output::Fetch { run, .. } => inputs.push_back(Input::Fetched { run, result: Ok(1) }),
                Output::CloseLink(_) => inputs.extend([Input::LinkDown, Input::LinkUp]),
                Output::Recall { batch, .. } => inputs.push_back(Input::Recalled { batch, runs: Vec::new() }),
                Output::Upload { run, .. } => inputs.push_back(Input::Uploaded { run, result: Ok(()) }),
                Output::Send(_) | Output::Attached(_) | Output::Start(_) | Output::Halt(_) | Output::Left => {}
            }
        }
    }
});
