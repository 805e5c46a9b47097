//! The help of each command as it is shown, and command lines that are taken or refused.

use clap::error::ErrorKind;
use clap::{Command as ClapCommand, CommandFactory};
use unicode_width::UnicodeWidthStr;

use super::*;

/// Columns that help texts are wrapped at, here and by clap where there is no terminal.
const WIDTH: usize = 100;

/// All commands with their commands, by what people type.
fn commands() -> Vec<(String, ClapCommand)> {
    fn walk(path: String, command: &ClapCommand, all: &mut Vec<(String, ClapCommand)>) {
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            walk(format!("{path} {}", inner.get_name()), inner, all);
        }
        all.push((path, command.clone()));
    }
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    let mut all = Vec::new();
    walk("pumasi".to_owned(), &root, &mut all);
    all
}

#[test]
fn help_texts_are_as_they_were_approved() {
    for (path, mut command) in commands() {
        let help = command.render_long_help().to_string();
        insta::assert_snapshot!(path.replace(' ', "_"), help);
    }
}

#[test]
fn every_command_has_examples() {
    for (path, command) in commands() {
        // Commands of `account` and `log` are shown by example there.
        if path.split(' ').count() == 2 {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.starts_with("Examples:\n  "), "{path}");
            assert!(after.contains("pumasi"), "{path}");
        }
    }
}

/// Lines of examples in all help texts.
fn examples() -> Vec<String> {
    let texts =
        commands().into_iter().filter_map(|(_, command)| command.get_after_help().map(ToString::to_string));
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.starts_with("  ") && line.contains("pumasi ")).collect()
}

/// A public key of a log, from the documentation of golang.org/x/mod/sumdb/note.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
/// A witness and where it could be.
const WITNESS: &str =
    "witness.example/w+26e44a48+BAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH@https://witness.example";

#[test]
fn the_examples_are_command_lines_that_work() {
    let mut checked = 0;
    for line in examples() {
        // What follows the command itself: a remark behind many spaces, a pipe, a redirection, another command.
        let from = line.find("pumasi ").unwrap();
        let command = line[from..].split("   ").next().unwrap();
        let command = command.split([')', '|', '>', '<', '&']).next().unwrap().trim();
        let hash = "3f".repeat(32);
        let command = command
            .replace("3f1a…", &hash)
            .replace("8b1a…", &hash)
            .replace("$job", "7")
            .replace("*.fa", "x.fa");
        let command = command.replace("$key", KEY).replace("$witness", WITNESS);
        let words = command.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}\n{error}");
        }
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn no_example_is_wrapped_where_it_would_be_copied() {
    for line in examples() {
        assert!(line.width() <= WIDTH, "{line}");
    }
}

fn refused(line: &str) -> ErrorKind {
    match Cli::try_parse_from(line.split(' ')) {
        Ok(cli) => panic!("{line} was taken: {cli:?}"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{line}");
            error.kind()
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    use ErrorKind::{
        ArgumentConflict, InvalidSubcommand, MissingRequiredArgument, UnknownArgument, ValueValidation,
    };
    for (line, kind) in [
        ("pumasi fly", InvalidSubcommand),
        ("pumasi run a.wasm", MissingRequiredArgument),
        ("pumasi run a.wasm --budget 0", ValueValidation),
        ("pumasi run a.wasm --budget=-5", ValueValidation),
        ("pumasi run a.wasm --budget 1e3", ValueValidation),
        ("pumasi run a.wasm --budget 5 --quorum 0", ValueValidation),
        ("pumasi run a.wasm --budget 5 --tasks 0", ValueValidation),
        ("pumasi run a.wasm --budget 5 --tasks 2 --each x", ArgumentConflict),
        ("pumasi run a.wasm --budget 5 --tasks 2 --each-line x", ArgumentConflict),
        ("pumasi run a.wasm --budget 5 --detach --out x", ArgumentConflict),
        ("pumasi run a.wasm --budget 5 --memory 1.5GiB", ValueValidation),
        ("pumasi run a.wasm --budget 5 --wall soon", ValueValidation),
        ("pumasi run a.wasm --budget 5 --env =x", ValueValidation),
        ("pumasi run a.wasm --budget 5 --fuel 0", ValueValidation),
        ("pumasi job seven", ValueValidation),
        ("pumasi get 12", ValueValidation),
        ("pumasi jobs --hub user@host", ValueValidation),
        ("pumasi jobs --fingerprint 12", ValueValidation),
        ("pumasi account open x", MissingRequiredArgument),
        ("pumasi account open x --role king", ErrorKind::InvalidValue),
        ("pumasi statement --all --limit 5", ArgumentConflict),
        ("pumasi serve --no-tls --tls-cert a --tls-key b", ArgumentConflict),
        ("pumasi serve --tls-cert a", MissingRequiredArgument),
        ("pumasi serve --no-proofs --origin x", ArgumentConflict),
        ("pumasi serve --witness https://w.example", ValueValidation),
        ("pumasi receipt get", MissingRequiredArgument),
        ("pumasi receipt get 4 --job 7", ArgumentConflict),
        ("pumasi receipt verify x", MissingRequiredArgument),
        ("pumasi receipt verify x --key y", ValueValidation),
        ("pumasi proof rotate-key --data", ErrorKind::InvalidValue),
        ("pumasi market webhooks add", MissingRequiredArgument),
        ("pumasi market webhooks add https://x --as customer", ErrorKind::InvalidValue),
        ("pumasi market webhooks change 1 --type order.paid --all-types", ArgumentConflict),
        ("pumasi market webhooks replay 1 --event 2 --since 3", ArgumentConflict),
        ("pumasi market sales --by week", ErrorKind::InvalidValue),
        ("pumasi market sales --from yesterday", ValueValidation),
        ("pumasi market sales --limit 1001", ValueValidation),
        ("pumasi market feed --lang jp", ErrorKind::InvalidValue),
        ("pumasi join a --hub b", ArgumentConflict),
        ("pumasi join --hours 25-3", ValueValidation),
        ("pumasi cancel", MissingRequiredArgument),
        ("pumasi jobs --frobnicate", UnknownArgument),
    ] {
        assert_eq!(refused(line), kind, "{line}");
    }
}

#[test]
fn a_run_takes_what_a_shell_makes_of_patterns() {
    let line = "pumasi run p.wasm --each a.fa b.fa --budget 5 --in t.fa -- -x {input} --json";
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    assert!(!cli.json, "what stands behind -- belongs to the program");
    let Command::Run(run) = cli.command else { panic!("{:?}", cli.command) };
    let text = format!("{run:?}");
    assert!(
        text.contains(r#"each: ["a.fa", "b.fa"]"#) && text.contains(r#"args: ["-x", "{input}", "--json"]"#),
        "{text}"
    );
}

#[test]
fn what_runs_for_long_bounds_its_memory() {
    for (line, wanted) in [
        ("pumasi serve", true),
        ("pumasi join", true),
        ("pumasi store ls", true),
        ("pumasi ls", false),
        ("pumasi login pool.example", false),
    ] {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(cli.fills_memory(), wanted, "{line}");
    }
}

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_document_lists_the_same_exit_codes() {
    let document = include_str!("../../../../docs/cli.md");
    let lines = EXIT_CODES.lines().filter_map(|line| line.trim().split_once("  "));
    let rows: Vec<_> = lines.map(|(code, meaning)| format!("| {code} | {meaning} |")).collect();
    assert_eq!(rows.len(), 9);
    rows.iter().for_each(|row| assert!(document.contains(row), "{row}"));
}
