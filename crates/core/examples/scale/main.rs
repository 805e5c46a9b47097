//! Measures the core alone, one scene per process: `cargo xtask bench scale` runs a series of them.
//!
//! `cargo run --release -p pumasi-core --example scale SCENE [WORKERS] [TASKS]` prints lines `name value`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement needs a clock")]
#![allow(clippy::float_arithmetic, reason = "figures for people")]

#[path = "../../tests/common/mod.rs"]
mod common;
mod crowd;
mod pool;
mod scenes;
mod storms;

/// What is measured on a pool of so many workers and tasks.
type Scene = fn(u64, u64);

const SCENES: [(&str, Scene); 20] = [
    ("line", scenes::line),
    ("crowd", scenes::crowd),
    ("believers", scenes::believers),
    ("newcomers", storms::newcomers),
    ("one-job", storms::one_job),
    ("many-jobs", storms::many_jobs),
    ("memory", scenes::memory),
    ("idle", scenes::idle),
    ("herd", scenes::herd),
    ("misfits", scenes::misfits),
    ("one-owner", scenes::one_owner),
    ("strangers", scenes::strangers),
    ("loss", scenes::loss),
    ("restart", scenes::restart),
    ("ends", scenes::ends),
    ("partition", storms::partition),
    ("timeouts", storms::timeouts),
    ("caught", storms::caught),
    ("lapse", storms::lapse),
    ("giant", storms::giant),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "crowd".to_owned());
    let mut numbers = arguments.map(|text| text.parse::<u64>().expect("a whole number"));
    let workers = numbers.next().unwrap_or(10_000);
    let tasks = numbers.next().unwrap_or(1_000_000);
    let Some((_, scene)) = SCENES.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = SCENES.iter().map(|(name, _)| *name).collect();
        eprintln!("'{name}' is not a scene: use one of {}", names.join(", "));
        std::process::exit(2);
    };
    scene(workers, tasks);
}
