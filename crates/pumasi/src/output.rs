//! What is written: tables for people, JSON for programs, messages beside them.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::CliError;

/// The widest that a column other than the last gets.
const COLUMN_MAX: usize = 44;

/// Where and how results and messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Results as JSON.
    pub(crate) json: bool,
    /// No messages and no progress.
    pub(crate) quiet: bool,
    colour_out: bool,
    colour_err: bool,
}

/// How a text stands out on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// Not at all.
    #[default]
    Plain,
    /// Headings.
    Bold,
    /// What went well.
    Good,
    /// What went wrong.
    Bad,
    /// What is under way.
    Busy,
}

impl Style {
    /// SGR parameters (ECMA-48, section 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "0",
            Style::Bold => "1",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Busy => "36",
        }
    }

    /// The style of a state of a job, task, worker or order.
    pub(crate) fn of_state(state: &str) -> Style {
        match state {
            "succeeded" | "completed" => Style::Good,
            "failed" | "failing" | "barred" | "expired" | "out_of_budget" | "dependency_failed" => Style::Bad,
            "active" | "working" | "partly_shipped" | "shipped" => Style::Busy,
            _ => Style::Plain,
        }
    }
}

impl Output {
    /// Colour only on terminals, and not when NO_COLOR is set (<https://no-color.org>).
    pub(crate) fn new(json: bool, quiet: bool) -> Output {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Output {
            json,
            quiet,
            colour_out: allowed && io::stdout().is_terminal(),
            colour_err: allowed && io::stderr().is_terminal(),
        }
    }

    /// One without colour, whatever it is written to.
    #[cfg(test)]
    pub(crate) fn plain() -> Output {
        Output { json: false, quiet: false, colour_out: false, colour_err: false }
    }

    /// Writes bytes to stdout as they are; harmless text when it is a terminal.
    ///
    /// A reader that left (`| head`) ends the program quietly.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        let written = if out.is_terminal() {
            out.write_all(harmless(&String::from_utf8_lossy(bytes)).as_bytes())
        } else {
            out.write_all(bytes)
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(141),
            written => written.map_err(CliError::file("write", Path::new("to standard output"))),
        }
    }

    /// Writes bytes to stderr, as [`Output::raw`] does to stdout.
    pub(crate) fn raw_err(&self, bytes: &[u8]) {
        let mut err = io::stderr().lock();
        let text = if err.is_terminal() {
            harmless(&String::from_utf8_lossy(bytes)).into_bytes()
        } else {
            bytes.to_vec()
        };
        // Nobody is left to be told when stderr is gone.
        let _ = err.write_all(&text);
    }

    /// A line of the result, for people.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        self.raw(format!("{}\n", harmless(text)).as_bytes())
    }

    /// The result as JSON, indented on a terminal.
    pub(crate) fn value<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let text = text.map_err(|error| io::Error::other(error.to_string()));
        let text = text.map_err(CliError::file("write JSON", Path::new("to standard output")))?;
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Says that something without an answer is done.
    pub(crate) fn done(&self, text: &str) -> Result<(), CliError> {
        if self.json { self.value(&serde_json::json!({})) } else { self.line(text) }
    }

    /// The result as JSON, or as one line for people.
    pub(crate) fn told<T: Serialize>(&self, value: &T, text: &str) -> Result<(), CliError> {
        if self.json { self.value(value) } else { self.line(text) }
    }

    /// What was done as JSON, or as a message beside no result.
    pub(crate) fn noted<T: Serialize>(&self, value: &T, text: &str) -> Result<(), CliError> {
        if self.json {
            return self.value(value);
        }
        self.note(text);
        Ok(())
    }

    /// The result as JSON, or as `table` for people; `none` when it has no rows.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        none: &str,
        table: impl FnOnce() -> Table,
    ) -> Result<(), CliError> {
        if self.json {
            return self.value(value);
        }
        let table = table();
        if table.rows.is_empty() {
            self.note(none);
            return Ok(());
        }
        self.table(&table)
    }

    /// A table as it is shown.
    pub(crate) fn text_of(&self, table: &Table) -> String {
        table.render(self.colour_out)
    }

    /// Takes the whole terminal for [`Screen::show`]; none when there is no terminal.
    pub(crate) fn screen(&self) -> Option<Screen> {
        let terminal = io::stdout().is_terminal() && !self.json;
        terminal.then(|| Screen::begin(*self))
    }

    /// A table for people.
    pub(crate) fn table(&self, table: &Table) -> Result<(), CliError> {
        self.styled(table.render(self.colour_out).as_bytes())
    }

    /// Bytes whose escape sequences are our own.
    fn styled(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(141),
            written => written.map_err(CliError::file("write", Path::new("to standard output"))),
        }
    }

    /// A message beside the result. Names that others chose may be in it.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.message(&harmless(text));
        }
    }

    /// Something that the person should know even with --quiet.
    pub(crate) fn warn(&self, text: &str) {
        self.message(&format!("{} {}", self.paint("warning:", Style::Bold), harmless(text)));
    }

    /// The reason why the command failed.
    pub(crate) fn error(&self, error: &CliError) {
        let exit = error.exit().code();
        if self.json {
            let body = serde_json::json!({
                "error": { "message": error.line(), "hint": error.hint(), "exit": exit }
            });
            self.message(&body.to_string());
            return;
        }
        self.message(&format!("{} {}", self.paint("error:", Style::Bad), harmless(&error.line())));
        if let Some(hint) = error.hint() {
            self.message(&format!("{} {hint}", self.paint("hint:", Style::Bold)));
        }
    }

    fn message(&self, text: &str) {
        // Nobody is left to be told when stderr is gone.
        let _ = writeln!(io::stderr(), "{text}");
    }

    fn paint(&self, text: &str, style: Style) -> String {
        paint(text, style, self.colour_err)
    }
}

/// The whole terminal, until it is dropped; then what was there before is shown again.
pub(crate) struct Screen(Output);

impl Screen {
    /// The other screen, without a cursor and without line breaks of its own (xterm control sequences, private modes
    /// 1049, 25 and 7).
    fn begin(out: Output) -> Screen {
        // A terminal that cannot be written to will be noticed by the first picture.
        let _ = out.styled(b"\x1b[?1049h\x1b[?25l\x1b[?7l");
        Screen(out)
    }

    /// Shows a text from the first line on, instead of what was there.
    pub(crate) fn show(&self, text: &str) -> Result<(), CliError> {
        self.0.styled(format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\r\n")).as_bytes())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.styled(b"\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

fn paint(text: &str, style: Style, colour: bool) -> String {
    match style {
        _ if !colour => text.to_owned(),
        Style::Plain => text.to_owned(),
        style => format!("\x1b[{}m{text}\x1b[0m", style.code()),
    }
}

/// The text without characters that command a terminal; what others wrote must not move our cursor.
pub(crate) fn harmless(text: &str) -> String {
    let keep = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if keep(c) { c } else { '\u{fffd}' }).collect()
}

/// Which side of its column a cell stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// Rows of aligned columns.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<(String, Style)>>,
}

impl Table {
    /// A table with these columns; those that begin with `>` are aligned to the right.
    pub(crate) fn new(columns: &[&'static str]) -> Table {
        let column = |name: &&'static str| match name.strip_prefix('>') {
            Some(name) => (name, Align::Right),
            None => (*name, Align::Left),
        };
        Table { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    /// A table of two columns without headings: names and values.
    pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> Table {
        let mut table = Table::new(&["", ""]);
        for (name, value) in facts {
            table.styled_row([(name.to_owned(), Style::Bold), (value, Style::Plain)]);
        }
        table
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.styled_row(cells.map(|cell| (cell, Style::Plain)));
    }

    /// Adds a row with styles.
    pub(crate) fn styled_row<const N: usize>(&mut self, cells: [(String, Style); N]) {
        self.push(cells.into());
    }

    /// Takes a column away, before any row is added.
    pub(crate) fn without(&mut self, name: &str) {
        self.columns.retain(|(column, _)| *column != name);
    }

    /// Adds a row with styles, one cell for each column.
    pub(crate) fn push(&mut self, cells: Vec<(String, Style)>) {
        let flat = |text: String| harmless(&text).replace(['\n', '\t'], " ");
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells.into_iter().map(|(text, style)| (flat(text), style)).collect());
    }

    fn render(&self, colour: bool) -> String {
        let last = self.columns.len() - 1;
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().map(|row| row[at].0.width());
                let widest = cells.max().unwrap_or(0).max(self.columns[at].0.width());
                if at == last { widest } else { widest.min(COLUMN_MAX) }
            })
            .collect();
        let mut text = String::new();
        let mut line = |cells: &[(String, Style)]| {
            let mut line = String::new();
            for (at, (cell, style)) in cells.iter().enumerate() {
                let cell = shorten(cell, widths[at]);
                let space = " ".repeat(widths[at].saturating_sub(cell.width()));
                let cell = paint(&cell, *style, colour);
                match self.columns[at].1 {
                    Align::Left if at == last => line += &cell,
                    Align::Left => line += &format!("{cell}{space}  "),
                    Align::Right => line += &format!("{space}{cell}  "),
                }
            }
            text += line.trim_end();
            text.push('\n');
        };
        if self.columns.iter().any(|(name, _)| !name.is_empty()) {
            let names: Vec<_> =
                self.columns.iter().map(|(name, _)| ((*name).to_owned(), Style::Bold)).collect();
            line(&names);
        }
        self.rows.iter().for_each(|row| line(row));
        text
    }
}

/// The text, or its beginning and `…` when it is wider.
fn shorten(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut width = 1;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width > width_max {
            break;
        }
        short.push(c);
    }
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_is_in_them() {
        let mut table = Table::new(&["NAME", ">PAID", "STATE"]);
        table.row(["품앗이".into(), "1.50".into(), "ok".into()]);
        table.row(["a\x1b[31m\nb".into(), "12345.00".into(), "x".repeat(60)]);
        table.row(["y".repeat(50), String::new(), String::new()]);
        let expected = format!(
            "NAME{s40}      PAID  STATE\n\
             품앗이{s38}      1.50  ok\n\
             a\u{fffd}[31m b{s36}  12345.00  {}\n\
             {}…\n",
            "x".repeat(60),
            "y".repeat(43),
            s40 = " ".repeat(40),
            s38 = " ".repeat(38),
            s36 = " ".repeat(36),
        );
        assert_eq!(table.render(false), expected);
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(&["STATE", "X"]);
        table.styled_row([("succeeded".into(), Style::Good), ("1".into(), Style::Plain)]);
        assert_eq!(
            table.render(true),
            "\x1b[1mSTATE\x1b[0m      \x1b[1mX\x1b[0m\n\x1b[32msucceeded\x1b[0m  1\n"
        );
    }
}
