//! The HTML of links' pages, in English and Korean. Everything that people wrote is escaped here, and nowhere else.

use std::fmt::Write;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use pumasi_api::client::escape as in_url;
use pumasi_core::{FileKind, FileView, Link};
use pumasi_types::{FilePath, Time};

/// The languages of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Korean,
}

/// What pages say.
pub(super) struct Words {
    code: &'static str,
    title: &'static str,
    download: &'static str,
    empty: &'static str,
    more: &'static str,
    up: &'static str,
    until: &'static str,
    left: &'static str,
    password: &'static str,
    open: &'static str,
    wrong: &'static str,
    other: (&'static str, &'static str),
    pub(super) gone: &'static str,
    pub(super) no_file: &'static str,
    pub(super) too_many: &'static str,
}

const ENGLISH: Words = Words {
    code: "en",
    title: "Shared with you",
    download: "Download",
    empty: "This folder is empty.",
    more: "More",
    up: "Up",
    until: "This link ends:",
    left: "Downloads left:",
    password: "This needs a password. Whoever gave you the link knows it.",
    open: "Open",
    wrong: "This is not the password.",
    other: ("ko", "한국어"),
    gone: "There is nothing here (any more). The link may have ended, or what it led to was removed. Ask whoever gave it to \
           you for a new one.",
    no_file: "There is no such file behind this link.",
    too_many: "Too many passwords were tried. Wait a few seconds, and try again.",
};

const KOREAN: Words = Words {
    code: "ko",
    title: "공유된 파일",
    download: "내려받기",
    empty: "빈 폴더입니다.",
    more: "더 보기",
    up: "위로",
    until: "링크 만료:",
    left: "남은 내려받기 횟수:",
    password: "비밀번호가 필요합니다. 링크를 보내 준 분에게 물어보세요.",
    open: "열기",
    wrong: "비밀번호가 맞지 않습니다.",
    other: ("en", "English"),
    gone: "이곳에는 (더 이상) 아무것도 없습니다. 링크가 만료되었거나 파일이 지워졌을 수 있습니다. 링크를 보내 준 분에게 새 링크를 \
           부탁하세요.",
    no_file: "이 링크에는 그런 파일이 없습니다.",
    too_many: "비밀번호를 너무 자주 시도했습니다. 몇 초 뒤에 다시 시도하세요.",
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;\
    color:#1b1f24;background:#fff}h1{font-size:1.3rem;overflow-wrap:anywhere}\
    table{width:100%;border-collapse:collapse}td{padding:.35rem .5rem;border-top:1px solid #d9dee3}\
    td:first-child{overflow-wrap:anywhere}td.n{text-align:right;white-space:nowrap;color:#57606a}\
    a{color:#0a58ca}.b{display:inline-block;padding:.5rem 1.2rem;border:0;border-radius:.4rem;background:#0a58ca;\
    color:#fff;text-decoration:none;font:inherit}input{font:inherit;padding:.45rem;width:14rem}\
    .e{color:#b42318}footer{margin-top:2rem;color:#57606a;font-size:.85rem}\
    @media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}a{color:#6ea8fe}td{border-color:#30363d}}";

/// What a page shows.
pub(super) struct Shown<'a> {
    pub(super) secret: &'a str,
    pub(super) link: &'a Link,
    /// Where the page is, below what the link is to.
    pub(super) at: &'a FilePath,
    pub(super) file: &'a FileView,
    /// What lies in it, if it is a folder.
    pub(super) entries: &'a [FileView],
    /// Behind which the next page begins.
    pub(super) next: Option<&'a str>,
}

impl Language {
    /// The one that is named, else the first of both that the browser asks for, else English.
    pub(super) fn of(named: Option<&str>, headers: &HeaderMap) -> Language {
        let wanted =
            headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let all = named.into_iter().chain(wanted.split(',').map(str::trim));
        let known = |name: &str| match name.get(..2)? {
            "ko" => Some(Language::Korean),
            "en" => Some(Language::English),
            _ => None,
        };
        all.filter_map(known).next().unwrap_or(Language::English)
    }

    fn words(self) -> &'static Words {
        match self {
            Language::English => &ENGLISH,
            Language::Korean => &KOREAN,
        }
    }
}

/// A text inside of HTML, between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The address of a page, or of bytes when `raw` is their last name.
pub(super) fn address(
    secret: &str,
    raw: Option<&str>,
    at: &FilePath,
    after: Option<&str>,
    lang: Option<&str>,
) -> String {
    let mut address = format!("/s/{}", in_url(secret));
    if let Some(raw) = raw {
        address += "/";
        address += raw;
    }
    let mut separator = '?';
    let pairs = [("path", Some(at.as_str()).filter(|at| !at.is_empty())), ("after", after), ("lang", lang)];
    for (name, value) in pairs.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        address.push(separator);
        address += &format!("{name}={}", in_url(value));
        separator = '&';
    }
    address
}

fn frame(language: Language, title: &str, main: &str) -> String {
    let words = language.words();
    format!(
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head><body>{main}</body></html>\n",
        words.code,
        escape(title),
    )
}

/// A page that says one thing.
pub(super) fn message(language: Language, which: impl Fn(&Words) -> &'static str) -> String {
    let words = language.words();
    frame(language, words.title, &format!("<h1>{}</h1><p>{}</p>", words.title, which(words)))
}

/// The page that asks for the password.
pub(super) fn password(language: Language, wrong: bool) -> String {
    let words = language.words();
    let wrong = if wrong { format!("<p class=\"e\">{}</p>", words.wrong) } else { String::new() };
    let main = format!(
        "<h1>{}</h1><p>{}</p>{wrong}<form method=\"post\"><input type=\"password\" name=\"password\" required autofocus \
         maxlength=\"128\"> <button class=\"b\">{}</button></form>",
        words.title, words.password, words.open,
    );
    frame(language, words.title, &main)
}

/// The page of a file or folder.
pub(super) fn shared(language: Language, lang: Option<&str>, shown: &Shown<'_>) -> String {
    let words = language.words();
    let name = shown.file.path.name().unwrap_or(words.title);
    let mut main = format!("<h1>{}</h1>", escape(name));
    match &shown.file.kind {
        FileKind::File(newest) => {
            let raw = address(shown.secret, Some("raw"), shown.at, None, None);
            let _ = write!(
                main,
                "<p>{} · {}</p><p><a class=\"b\" href=\"{}\" download>{}</a></p>",
                newest.size,
                date(newest.about.modified.unwrap_or(newest.put)),
                escape(&raw),
                words.download,
            );
        }
        FileKind::Folder(_) => folder(&mut main, words, lang, shown),
    }
    main += "<footer>";
    if let Some(expires) = shown.link.expires {
        let _ = write!(main, "<p>{} {}</p>", words.until, date(expires));
    }
    if let Some(left) = shown.link.left {
        let _ = write!(main, "<p>{} {left}</p>", words.left);
    }
    let (code, label) = words.other;
    let other = address(shown.secret, None, shown.at, None, Some(code));
    let _ = write!(main, "<p><a lang=\"{code}\" href=\"{}\">{label}</a></p></footer>", escape(&other));
    frame(language, name, &main)
}

fn folder(main: &mut String, words: &Words, lang: Option<&str>, shown: &Shown<'_>) {
    if let Some(parent) = shown.at.parent() {
        let up = address(shown.secret, None, &parent, None, lang);
        let _ = write!(main, "<p><a href=\"{}\">↑ {}</a></p>", escape(&up), words.up);
    }
    if shown.entries.is_empty() {
        let _ = write!(main, "<p>{}</p>", words.empty);
    }
    *main += "<table>";
    for entry in shown.entries {
        let name = entry.path.name().unwrap_or_default();
        // Longer than any path only if its link's folder is; then there is nothing to lead to.
        let Ok(at) = shown.at.join(name) else { continue };
        let _ = match &entry.kind {
            FileKind::Folder(sums) => {
                let to = address(shown.secret, None, &at, None, lang);
                let (to, name) = (escape(&to), escape(name));
                let bytes = sums.bytes;
                write!(
                    main,
                    "<tr><td><a href=\"{to}\">{name}/</a></td><td class=\"n\">{bytes}</td><td></td></tr>"
                )
            }
            FileKind::File(newest) => {
                let to = address(shown.secret, Some("raw"), &at, None, None);
                let (to, name) = (escape(&to), escape(name));
                let (size, date) = (newest.size, date(newest.about.modified.unwrap_or(newest.put)));
                write!(
                    main,
                    "<tr><td><a href=\"{to}\" download>{name}</a></td><td class=\"n\">{size}</td>\
                     <td class=\"n\">{date}</td></tr>"
                )
            }
        };
    }
    *main += "</table>";
    if let Some(next) = shown.next {
        let more = address(shown.secret, None, shown.at, Some(next), lang);
        let _ = write!(main, "<p><a href=\"{}\">{} →</a></p>", escape(&more), words.more);
    }
}

/// A moment, to the minute.
fn date(time: Time) -> String {
    let stamp = i64::try_from(time.0 / 1_000_000).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.map(|stamp| stamp.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_no_markup() {
        assert_eq!(escape("<a href=\"x\">&'\u{7}"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\u{fffd}");
        let path: FilePath = "a\"><script>/b&c d".parse().unwrap();
        let address = address("S", Some("raw"), &path, Some("<"), Some("ko"));
        assert_eq!(address, "/s/S/raw?path=a%22%3E%3Cscript%3E%2Fb%26c%20d&after=%3C&lang=ko");
    }

    #[test]
    fn a_browser_gets_its_language() {
        let of = |named, asked: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, asked.parse().unwrap());
            Language::of(named, &headers)
        };
        assert_eq!(of(None, "de, ko-KR;q=0.9, en;q=0.8"), Language::Korean);
        assert_eq!(of(None, "en-US,ko"), Language::English);
        assert_eq!(of(Some("ko"), "en"), Language::Korean);
        assert_eq!(of(Some("x"), "fr"), Language::English);
    }

    #[test]
    fn both_languages_say_everything() {
        for words in [&ENGLISH, &KOREAN] {
            let all = [words.title, words.gone, words.no_file, words.too_many, words.password, words.wrong];
            assert!(all.iter().all(|text| text.len() > 5));
        }
        assert_eq!((KOREAN.other.0, ENGLISH.other.0), (ENGLISH.code, KOREAN.code));
    }
}
