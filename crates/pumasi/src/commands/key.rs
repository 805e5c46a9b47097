//! `pumasi key`: keys of encrypted files, kept on this machine.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use pumasi_seal::header::HEADER;
use pumasi_seal::key::{KEY_BYTES, PASSPHRASE_LEAST};
use pumasi_seal::{Header, Key, Opener, Seal, SealError};
use pumasi_types::ByteSize;
use serde_json::json;

use crate::drive::send::blocking;
use crate::error::CliError;
use crate::exit::Exit;
use crate::keys::{Closed, DEFAULT_NAME, Keys, check_name};
use crate::output::{Output, Table};
use crate::terminal::{ask_hidden, is_interactive, read_line};

/// Bytes that are decrypted at once.
const PIECE: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  pumasi key new                                   a key called `default`
  pumasi put taxes :taxes --encrypt                encrypt with it
  pumasi key show > key.txt                        its recovery text: print it, keep it safe
  pumasi key add < key.txt                         on another machine
  pumasi key new jane-doe-1985 --passphrase        name and passphrase make it again anywhere
  pumasi key open report.pdf.raw report.pdf        decrypt what came through a link, S3 or --raw

Keys lie in $XDG_CONFIG_HOME/pumasi/keys, readable by you only, and never leave this machine by themselves. \
Without the key nobody can read what was encrypted with it, neither you nor the hub's operator: keep its \
recovery text where it is not lost with this machine.";

/// Keys of encrypted files
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    New(NewArgs),
    Add(AddArgs),
    Ls(LsArgs),
    Show(ShowArgs),
    Open(OpenArgs),
}

/// Make a key
#[derive(Args, Debug)]
struct NewArgs {
    /// What to call it; with --passphrase it is part of what makes it, and must be one that nobody else would choose
    #[arg(default_value = DEFAULT_NAME, value_parser = check_name)]
    name: String,
    /// Make it of a passphrase that is asked for; the first line of standard input when that is no terminal
    #[arg(long)]
    passphrase: bool,
    /// Print its recovery text as well
    #[arg(long)]
    print_recovery: bool,
}

/// Add a key of another machine by its recovery text
///
/// The text is asked for, or read from standard input when that is no terminal.
#[derive(Args, Debug)]
struct AddArgs {
    /// What to call it here
    #[arg(default_value = DEFAULT_NAME, value_parser = check_name)]
    name: String,
}

/// List the keys on this machine
#[derive(Args, Debug)]
struct LsArgs {}

/// Print the recovery text of a key: whoever has it can read all that the key encrypts
#[derive(Args, Debug)]
struct ShowArgs {
    /// Which; without a name the one called `default`, or the only one
    name: Option<String>,
}

/// Decrypt a file of this machine, as it came through a link, S3 or `get --raw`
#[derive(Args, Debug)]
struct OpenArgs {
    /// The encrypted file
    file: PathBuf,
    /// Where to; standard output by default
    to: Option<PathBuf>,
}

impl KeyArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        match self.command {
            KeyCommand::New(args) => args.run(out).await,
            KeyCommand::Add(args) => args.run(out),
            KeyCommand::Ls(_) => list(out),
            KeyCommand::Show(args) => {
                let keys = Keys::load(out)?;
                let named = keys.choose(args.name.as_deref())?;
                let text = named.key.recovery_text();
                let value = json!({ "name": named.name, "key": named.key.id(), "recovery": text });
                out.told(&value, &text)?;
                Ok(Exit::Ok)
            }
            KeyCommand::Open(args) => {
                let (keys, out) = (Keys::load(out)?, *out);
                blocking(move || open(&keys, &args.file, args.to.as_deref(), &out)).await?
            }
        }
    }
}

impl NewArgs {
    async fn run(self, out: &Output) -> Result<Exit, CliError> {
        refuse_taken(out, &self.name)?;
        let key = if self.passphrase {
            // The name is the salt: of one that all have, everybody's passphrases could be guessed at once.
            if self.name == DEFAULT_NAME {
                return Err(CliError::usage("a key of a passphrase needs a name of its own", OWN_NAME));
            }
            let (name, passphrase) = (self.name.clone(), new_passphrase()?);
            // It takes a second, on purpose.
            let made = blocking(move || Key::from_passphrase(&name, &passphrase)).await?;
            made.map_err(|error| CliError::usage(error.to_string(), LONGER))?
        } else {
            let mut secret = [0; KEY_BYTES];
            let random = getrandom::fill(&mut secret).map_err(std::io::Error::other);
            random.map_err(CliError::file("read", Path::new("the system's random numbers")))?;
            Key::new(secret)
        };
        let recovery = self.print_recovery.then(|| key.recovery_text());
        added(out, "made", &self.name, &key, recovery)?;
        if !self.print_recovery {
            out.note(&format!(
                "what it encrypts is lost with it: `pumasi key show {}` prints its recovery text, to be kept elsewhere",
                self.name
            ));
        }
        Ok(Exit::Ok)
    }
}

const OWN_NAME: &str = "choose one that nobody else would, as in `pumasi key new jane-doe-1985 --passphrase`";

const LONGER: &str = "several unrelated words are easy to remember and hard to guess";

fn new_passphrase() -> Result<String, CliError> {
    let missing = || CliError::usage("no passphrase was given", "give it as a line on standard input");
    if !is_interactive() {
        return read_line().ok_or_else(missing);
    }
    let question = format!("passphrase, {PASSPHRASE_LEAST} characters or more (not shown):");
    let given = ask_hidden(&question).ok_or_else(missing)?;
    if ask_hidden("once more:").as_ref() != Some(&given) {
        return Err(CliError::usage("these are two different passphrases", "try again"));
    }
    Ok(given)
}

impl AddArgs {
    fn run(self, out: &Output) -> Result<Exit, CliError> {
        let keys = refuse_taken(out, &self.name)?;
        let text = if is_interactive() {
            ask_hidden("recovery text (not shown):").unwrap_or_default()
        } else {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(4 << 10).read_to_string(&mut text);
            read.map_err(CliError::file("read", Path::new("standard input")))?;
            text
        };
        let key: Key = text.parse().map_err(|error: pumasi_seal::SealError| {
            CliError::usage(error.to_string(), "`pumasi key show` prints it on the machine that has the key")
        })?;
        if let Some(named) = keys.find(key.id()) {
            let problem = format!("this key is here already, as '{}'", named.name);
            return Err(CliError::usage(problem, "`pumasi key ls` lists the keys here"));
        }
        added(out, "added", &self.name, &key, None)?;
        Ok(Exit::Ok)
    }
}

/// No key is overwritten: it could be the only one of its kind.
fn refuse_taken(out: &Output, name: &str) -> Result<Keys, CliError> {
    let keys = Keys::load(out)?;
    let mut names = keys.all().iter().map(|named| &named.name);
    if names.any(|taken| taken == name) || keys.unreadable().iter().any(|taken| taken.name == name) {
        let problem = format!("there is a key '{name}' already");
        return Err(CliError::usage(
            problem,
            "choose another name for the new one, as in `pumasi key new work`",
        ));
    }
    Ok(keys)
}

fn added(out: &Output, verb: &str, name: &str, key: &Key, recovery: Option<String>) -> Result<(), CliError> {
    let file = Keys::add(name, key)?.display().to_string();
    let mut text = format!("{verb} key '{name}' ({}): {file}", key.id());
    let mut value = json!({ "name": name, "key": key.id(), "file": file });
    if let Some(recovery) = recovery {
        text += &format!("\n{recovery}");
        value["recovery"] = recovery.into();
    }
    out.told(&value, &text)
}

fn list(out: &Output) -> Result<Exit, CliError> {
    let keys = Keys::load(out)?;
    let good = keys.all().iter().map(|named| json!({ "name": named.name, "key": named.key.id() }));
    let unreadable = keys.unreadable().iter().map(|bad| json!({ "name": bad.name, "problem": bad.problem }));
    let all: Vec<_> = good.chain(unreadable).collect();
    out.show(&json!({ "keys": all }), "there are no keys here: `pumasi key new` makes one", || {
        let mut table = Table::new(&["KEY", "NAME"]);
        for named in keys.all() {
            table.row([named.key.id().to_string(), named.name.clone()]);
        }
        for bad in keys.unreadable() {
            table.row(["unreadable".to_owned(), bad.name.clone()]);
        }
        table
    })?;
    Ok(Exit::Ok)
}

/// Decrypts a file; nothing of one that was changed is kept.
fn open(keys: &Keys, file: &Path, to: Option<&Path>, out: &Output) -> Result<Exit, CliError> {
    let closed = |why| CliError::Closed { place: file.display().to_string(), why };
    let mut reader = std::fs::File::open(file).map_err(CliError::file("read", file))?;
    let mut begin = Vec::with_capacity(HEADER);
    (&mut reader).take(HEADER as u64).read_to_end(&mut begin).map_err(CliError::file("read", file))?;
    let header = Header::decode(&begin).map_err(|error| match error {
        SealError::Version(version) => closed(Closed::Version(version)),
        error => CliError::content(file)(error),
    })?;
    let named = keys.find(header.key()).ok_or_else(|| closed(Closed::NoKey(header.key())))?;
    let seal = Arc::new(Seal::open(&named.key, &header).map_err(|_| closed(Closed::Damaged))?);
    // Nothing of the content is behind its end, but whoever put something there changed the file.
    let length = reader.metadata().map_err(CliError::file("read", file))?;
    if length.is_file() && length.len() != seal.sealed_length() {
        return Err(closed(Closed::Damaged));
    }
    let temporary = std::env::temp_dir();
    let folder = match to {
        Some(to) => to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        None => &temporary,
    };
    let failed = || CliError::file("write", to.unwrap_or(folder));
    let mut opened = tempfile::NamedTempFile::new_in(folder).map_err(failed())?;
    let mut opener = Opener::new(seal);
    let mut piece = begin;
    while !piece.is_empty() {
        let plain = opener.push(&piece).map_err(|_| closed(Closed::Damaged))?;
        opened.write_all(&plain).map_err(failed())?;
        piece.clear();
        let read = (&mut reader).take(PIECE as u64).read_to_end(&mut piece);
        read.map_err(CliError::file("read", file))?;
    }
    opener.finish().map_err(|_| closed(Closed::Damaged))?;
    let Some(to) = to else {
        super::get::print(out, opened.path())?;
        return Ok(Exit::Ok);
    };
    let size = opener.plain();
    opened.persist(to).map_err(|error| failed()(error.error))?;
    let value = json!({ "file": to.display().to_string(), "key": named.key.id(), "size": size });
    out.told(&value, &format!("{}: {}", to.display(), ByteSize(size)))?;
    Ok(Exit::Ok)
}
