//! Arguments and environment with place-holders for what is a task's own.

use std::borrow::Cow;

use pumasi_types::TaskIndex;

/// The most bytes of one task's arguments and environment together.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// What stands for the place-holders of one task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    /// `{index}`: the task's place in its job.
    pub(super) index: TaskIndex,
    /// `{name}`; the index for tasks without a line in a task list.
    pub(super) name: Option<&'a str>,
    /// `{input}`: where the task's own file is; empty when it has none.
    pub(super) input: &'a str,
    /// `{arg}`; empty when the task has none.
    pub(super) arg: &'a str,
}

impl<'a> Own<'a> {
    fn value(&self, part: &'a Part) -> Cow<'a, str> {
        match (part, self.name) {
            (Part::Text(text), _) => Cow::Borrowed(text),
            (Part::Name, Some(name)) => name.into(),
            (Part::Index | Part::Name, _) => self.index.to_string().into(),
            (Part::Input, _) => self.input.into(),
            (Part::Arg, _) => self.arg.into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Index,
    Name,
    Input,
    Arg,
}

const PLACE_HOLDERS: [(&str, Part); 4] =
    [("{index}", Part::Index), ("{name}", Part::Name), ("{input}", Part::Input), ("{arg}", Part::Arg)];

/// Texts, split once into what is the same for all tasks and what is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Templates {
    /// The texts as they were given.
    texts: Vec<String>,
    /// The parts of each text; empty when none has a place-holder.
    parts: Vec<Vec<Part>>,
}

impl Templates {
    pub(super) fn new(texts: Vec<String>) -> Templates {
        let parts: Vec<Vec<Part>> = texts.iter().map(|text| split(text)).collect();
        let is_fixed = parts.iter().flatten().all(|part| matches!(part, Part::Text(_)));
        Templates { texts, parts: if is_fixed { Vec::new() } else { parts } }
    }

    /// The texts of one task; none when they have more than `room` bytes together.
    ///
    /// What is filled in is not looked at for place-holders again.
    pub(super) fn fill<'a>(&'a self, own: Own<'a>, room: &mut usize) -> Option<Vec<String>> {
        if self.parts.is_empty() {
            let len: usize = self.texts.iter().map(String::len).sum();
            *room = room.checked_sub(len)?;
            return Some(self.texts.clone());
        }
        let mut filled = Vec::with_capacity(self.parts.len());
        for parts in &self.parts {
            let mut text = String::new();
            for part in parts {
                let value = own.value(part);
                *room = room.checked_sub(value.len())?;
                text.push_str(&value);
            }
            filled.push(text);
        }
        Some(filled)
    }
}

/// Cuts a text at its place-holders; anything else in braces stands for itself.
fn split(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut plain = String::new();
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        match PLACE_HOLDERS.iter().find(|(name, _)| from.starts_with(name)) {
            Some((name, part)) => {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain).into()));
                }
                parts.push(part.clone());
                rest = &from[name.len()..];
            }
            None => {
                plain.push('{');
                rest = &from[1..];
            }
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Own<'_> = Own { index: TaskIndex(7), name: Some("q{arg}.fa"), input: "/in/q.fa", arg: "x y" };

    fn fill(text: &str, own: Own<'_>) -> String {
        let mut room = 1_000;
        Templates::new(vec![text.to_owned()]).fill(own, &mut room).unwrap().remove(0)
    }

    #[test]
    fn place_holders_stand_for_what_is_the_tasks_own() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("{index}", "7"),
            ("--in={input}", "--in=/in/q.fa"),
            ("{name}{name}", "q{arg}.faq{arg}.fa"),
            ("{arg}", "x y"),
            ("{{index}}", "{7}"),
            ("{Index} {other} {", "{Index} {other} {"),
            ("é{index}é", "é7é"),
        ] {
            assert_eq!(fill(text, OWN), expected, "{text}");
        }
    }

    #[test]
    fn tasks_without_a_line_have_an_index_only() {
        let own = Own { index: TaskIndex(3), name: None, input: "", arg: "" };
        assert_eq!(fill("{index} {name} [{input}] [{arg}]", own), "3 3 [] []");
    }

    #[test]
    fn many_small_texts_cannot_become_a_huge_one() {
        let arg = "x".repeat(1_000);
        let own = Own { arg: &arg, ..OWN };
        let templates = Templates::new(vec!["{arg}".repeat(1_000); 2]);
        assert_eq!(templates.fill(own, &mut 1_999_999), None);
        assert!(templates.fill(own, &mut 2_000_000).is_some());
        assert_eq!(Templates::new(vec!["abc".to_owned()]).fill(own, &mut 2), None);
    }

    proptest! {
        #[test]
        fn any_text_without_place_holders_stays(text in "[{}a-z\\PC]{0,40}") {
            let is_plain = PLACE_HOLDERS.iter().all(|(name, _)| !text.contains(name));
            prop_assume!(is_plain);
            prop_assert_eq!(fill(&text, OWN), text);
        }
    }
}
