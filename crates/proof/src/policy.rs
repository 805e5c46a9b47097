//! Which logs are believed, and how many witnesses must have cosigned (C2SP tlog-policy).

use std::collections::{BTreeMap, BTreeSet};

use crate::text::Malformed;
use crate::{Checkpoint, Note, NoteError, Signed, Use, VerifierKey};

const WHAT: &str = "policy";
/// Most logs, witnesses and groups that are read, each.
const MEMBERS_MAX: usize = 1000;

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<VerifierKey>,
    groups: Vec<Group>,
    quorum: Option<Member>,
}

/// Something that can witness a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// By its place among the witnesses.
    Witness(usize),
    /// By its place among the groups.
    Group(usize),
}

/// So many of its members must have witnessed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

/// A checkpoint that a policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The log's keys that signed it.
    pub logs: Vec<Signed>,
    /// The witnesses that cosigned it.
    pub witnesses: Vec<Signed>,
}

/// Why a checkpoint is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not a checkpoint.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No key of this log is known.
    #[error("no key of the log '{origin}' is trusted")]
    UnknownLog {
        /// What the checkpoint calls it.
        origin: String,
    },
    /// A signature of the log or of a witness is wrong, or the log's is missing.
    #[error("the checkpoint of {size} leaves is not to be believed: {source}")]
    NotSigned {
        /// Its size.
        size: u64,
        /// What is wrong.
        source: NoteError,
    },
    /// Too few witnesses.
    #[error("the checkpoint of {size} leaves has cosignatures of {} known witnesses: not the quorum that the policy asks for", found.len())]
    NoQuorum {
        /// Its size.
        size: u64,
        /// Whose cosignatures it has.
        found: Vec<String>,
    },
}

impl Policy {
    /// Believes these keys of logs without any witness.
    pub fn of_logs(logs: Vec<VerifierKey>) -> Policy {
        Policy { logs, witnesses: Vec::new(), groups: Vec::new(), quorum: None }
    }

    /// Believes one more key of a log.
    pub fn trust(&mut self, log: VerifierKey) {
        if !self.logs.contains(&log) {
            self.logs.push(log);
        }
    }

    /// The keys of logs that are believed.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses that are known.
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// When a line is none of a policy, uses a name that was not defined before it, or there is not exactly
    /// one quorum.
    pub fn parse(file: &[u8]) -> Result<Policy, Malformed> {
        let mut parser = Parser::default();
        for (number, line) in file.split(|byte| *byte == b'\n').enumerate() {
            parser
                .line(line)
                .map_err(|problem| Malformed::new(WHAT, format!("line {}: {problem}", number + 1)))?;
        }
        let quorum = parser.quorum.ok_or_else(|| Malformed::new(WHAT, "it has no line 'quorum NAME'"))?;
        Ok(Policy { quorum, ..parser.policy })
    }

    /// Checks who signed a checkpoint.
    ///
    /// # Errors
    /// When it is not a checkpoint of a known log, a known key's signature is wrong, or the quorum of
    /// witnesses is missing.
    pub fn accept(&self, note: &Note) -> Result<Accepted, PolicyError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let keys: Vec<_> = self.logs.iter().filter(|key| key.name() == checkpoint.origin).collect();
        if keys.is_empty() {
            return Err(PolicyError::UnknownLog { origin: checkpoint.origin });
        }
        let wrong = |source| PolicyError::NotSigned { size: checkpoint.size, source };
        let logs = note.verify(keys).map_err(wrong)?;
        let witnesses = match note.verify(&self.witnesses) {
            Err(NoteError::NobodyKnown { .. }) => Vec::new(),
            checked => checked.map_err(wrong)?,
        };
        if self.quorum.is_none_or(|quorum| self.is_met(quorum, &witnesses)) {
            return Ok(Accepted { checkpoint, logs, witnesses });
        }
        let found = witnesses.iter().map(|signed| signed.key.name().to_owned()).collect();
        Err(PolicyError::NoQuorum { size: checkpoint.size, found })
    }

    fn is_met(&self, member: Member, signed: &[Signed]) -> bool {
        match member {
            Member::Witness(at) => signed.iter().any(|one| one.key == self.witnesses[at]),
            Member::Group(at) => {
                let group = &self.groups[at];
                let met = group.members.iter().filter(|member| self.is_met(**member, signed)).count();
                met >= group.threshold
            }
        }
    }
}

/// A policy as it stands after some lines.
struct Parser {
    policy: Policy,
    names: BTreeMap<Vec<u8>, Member>,
    /// Each name is a member of one group at most.
    used: BTreeSet<Vec<u8>>,
    quorum: Option<Option<Member>>,
}

impl Default for Parser {
    fn default() -> Parser {
        let policy = Policy::of_logs(Vec::new());
        Parser { policy, names: BTreeMap::new(), used: BTreeSet::new(), quorum: None }
    }
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
            return Err("it has control characters".to_owned());
        }
        let words: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
        match words[..] {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] | [b"log", key, _] => self.log(key),
            [b"witness", name, key] | [b"witness", name, key, _] => self.witness(name, key),
            [b"group", name, threshold, ref members @ ..] => self.group(name, threshold, members),
            [b"quorum", name] => self.set_quorum(name),
            _ => Err("it is none of: log VKEY [URL], witness NAME VKEY [URL], group NAME K NAME…, \
                      quorum NAME"
                .to_owned()),
        }
    }

    fn log(&mut self, key: &[u8]) -> Result<(), String> {
        let key = parse_key(key, Use::Note)?;
        add_key(&mut self.policy.logs, key)
    }

    fn witness(&mut self, name: &[u8], key: &[u8]) -> Result<(), String> {
        let key = parse_key(key, Use::Cosignature)?;
        self.define(name, Member::Witness(self.policy.witnesses.len()))?;
        add_key(&mut self.policy.witnesses, key)
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], members: &[&[u8]]) -> Result<(), String> {
        let threshold = match threshold {
            b"any" => 1,
            b"all" => members.len(),
            number => {
                let number =
                    std::str::from_utf8(number).map_err(|_| "the threshold is no number".to_owned())?;
                let number = crate::text::decimal(WHAT, number).map_err(|error| error.problem)?;
                usize::try_from(number).unwrap_or(usize::MAX)
            }
        };
        if threshold < 1 || threshold > members.len() {
            return Err(format!("the threshold must be 1 to the number of members, {}", members.len()));
        }
        let mut group = Group { threshold, members: Vec::new() };
        for member in members {
            group.members.push(self.defined(member)?);
            if !self.used.insert(member.to_vec()) {
                return Err(format!("'{}' is a member already", shown(member)));
            }
        }
        self.define(name, Member::Group(self.policy.groups.len()))?;
        self.policy.groups.push(group);
        Ok(())
    }

    fn set_quorum(&mut self, name: &[u8]) -> Result<(), String> {
        let quorum = if name == b"none" { None } else { Some(self.defined(name)?) };
        if self.quorum.replace(quorum).is_some() {
            Err("there is a quorum already".to_owned())
        } else {
            Ok(())
        }
    }

    fn defined(&self, name: &[u8]) -> Result<Member, String> {
        self.names.get(name).copied().ok_or_else(|| format!("'{}' is not defined before", shown(name)))
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), String> {
        if name == b"none" || self.names.len() == MEMBERS_MAX {
            return Err("'none' cannot be defined, nor more than 1000 names".to_owned());
        }
        match self.names.insert(name.to_vec(), member) {
            Some(_) => Err(format!("'{}' is defined already", shown(name))),
            None => Ok(()),
        }
    }
}

fn add_key(keys: &mut Vec<VerifierKey>, key: VerifierKey) -> Result<(), String> {
    if keys.len() == MEMBERS_MAX || keys.iter().any(|other| other.public() == key.public()) {
        return Err("this key is there already, or there are too many".to_owned());
    }
    keys.push(key);
    Ok(())
}

fn parse_key(text: &[u8], usage: Use) -> Result<VerifierKey, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the key is not UTF-8".to_owned())?;
    let key: VerifierKey = text.parse().map_err(|error: Malformed| error.to_string())?;
    match (key.usage() == usage, usage) {
        (true, _) => Ok(key),
        (false, Use::Note) => Err("a log needs a key that signs notes (type 0x01)".to_owned()),
        (false, Use::Cosignature) => Err("a witness needs a key for cosignatures (type 0x04)".to_owned()),
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(80).collect()
}
