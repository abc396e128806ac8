//! The log file: which one, and its lines as entries.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpc_core::api::log::{Append, Level};

use crate::Error;

/// Where systems keep logs that grow by themselves, package logs first: they are long, everybody
/// may read them, and nothing in them is secret.
const PLACES: [(&str, &str); 18] = [
    ("/var/log/dpkg.log", "the package log of dpkg"),
    ("/var/log/apt/history.log", "the history of apt"),
    ("/var/log/apt/term.log", "what apt has printed"),
    ("/var/log/pacman.log", "the package log of pacman"),
    ("/var/log/dnf.log", "the package log of dnf"),
    ("/var/log/dnf.rpm.log", "the package log of dnf"),
    ("/var/log/dnf5.log", "the package log of dnf"),
    ("/var/log/zypp/history", "the package log of zypper"),
    ("/var/log/emerge.log", "the package log of portage"),
    ("/var/log/apk.log", "the package log of apk"),
    ("/var/log/install.log", "the installation log"),
    ("/var/log/syslog", "the system log"),
    ("/var/log/messages", "the system log"),
    ("/var/log/system.log", "the system log"),
    ("/var/log/kern.log", "the kernel log"),
    ("/var/log/boot.log", "the boot log"),
    (
        "/var/lib/dpkg/status",
        "dpkg's list of packages; no log, but lines",
    ),
    (
        "/lib/apk/db/installed",
        "apk's list of packages; no log, but lines",
    ),
];

/// More would keep a reader of the output waiting, and show the same.
const LINES_MAX: usize = 50_000;
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Escaped as JSON a byte may become six, and a request line has 1 MiB at most.
const LINE_BYTES_MAX: usize = 128 << 10;

/// A log file, read.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Why it is this one.
    pub(crate) why: String,
    pub(crate) entries: Arc<[Append]>,
    /// Lines left out since there is nothing in them.
    pub(crate) empty: usize,
    /// What else is to be said.
    pub(crate) notes: Vec<String>,
}

/// Reads the file that was asked for, or else the first of the usual ones that has lines.
pub(crate) fn find(asked: Option<&Path>) -> Result<Source, Error> {
    if let Some(path) = asked {
        let lines = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return source(
            path.to_owned(),
            "given on the command line".into(),
            lines,
            Vec::new(),
        );
    }

    let mut passed_over = Vec::new();
    for (path, what) in PLACES {
        match read(Path::new(path)) {
            Ok(lines) if lines.kept.is_empty() => {
                passed_over.push(format!("passed over {path}: it is empty"));
            }
            Ok(lines) => {
                let why = format!(
                    "{what}: the first of {} usual places that can be read and has lines",
                    PLACES.len()
                );
                return source(path.into(), why, lines, passed_over);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => passed_over.push(format!("passed over {path}: {error}")),
        }
    }

    Err("none of the usual log files can be read here; pass one: quickstart FILE".into())
}

fn source(
    path: PathBuf,
    why: String,
    lines: Lines,
    mut notes: Vec<String>,
) -> Result<Source, Error> {
    if lines.kept.is_empty() {
        return Err(format!("{}: it has no lines to ship", path.display()).into());
    }

    if lines.has_more {
        notes.push(format!(
            "cut here: at most {LINES_MAX} lines and {} MiB of a file are taken",
            FILE_BYTES_MAX >> 20
        ));
    }
    if lines.shortened > 0 {
        notes.push(format!(
            "{} lines shortened to {} KiB",
            lines.shortened,
            LINE_BYTES_MAX >> 10
        ));
    }
    if lines.not_utf8 > 0 {
        notes.push(format!(
            "{} lines are not UTF-8: what is not became U+FFFD",
            lines.not_utf8
        ));
    }

    let service = path
        .file_stem()
        .map_or_else(|| "log".into(), |stem| stem.to_string_lossy().into_owned());
    let entries = lines
        .kept
        .into_iter()
        .map(|line| Append::new(level_of(&line), service.clone(), line))
        .collect();

    Ok(Source {
        path,
        why,
        entries,
        empty: lines.empty,
        notes,
    })
}

/// The lines of a file, and what was done to them.
#[derive(Default)]
struct Lines {
    kept: Vec<String>,
    empty: usize,
    shortened: usize,
    not_utf8: usize,
    has_more: bool,
}

fn read(path: &Path) -> io::Result<Lines> {
    let mut reader = BufReader::new(File::open(path)?.take(FILE_BYTES_MAX));
    let mut lines = Lines::default();
    let mut line = Vec::new();

    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }

        if lines.kept.len() == LINES_MAX {
            lines.has_more = true;
            return Ok(lines);
        }

        if reader.get_ref().limit() == 0 && line.last() != Some(&b'\n') {
            // Most likely the limit came in the middle of a line.
            lines.has_more = true;
            return Ok(lines);
        }

        lines.push(&line);
    }
}

impl Lines {
    fn push(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if text.is_empty() {
            self.empty += 1;
            return;
        }

        self.not_utf8 += usize::from(matches!(text, std::borrow::Cow::Owned(_)));

        let mut text = text.into_owned();
        if text.len() > LINE_BYTES_MAX {
            let end = (0..=LINE_BYTES_MAX)
                .rev()
                .find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            self.shortened += 1;
        }

        self.kept.push(text);
    }
}

/// A guess by words that stand alone: a package named `liberror-perl` is no error.
fn level_of(line: &str) -> Level {
    let mut level = Level::Info;
    for word in line.split_whitespace() {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));

        if is(&["error", "err", "failed", "fatal", "panic"]) {
            return Level::Error;
        }
        if is(&["warning", "warn"]) {
            level = Level::Warn;
        }
    }

    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_guessed_from_words_that_stand_alone() {
        for (line, level) in [
            (
                "2024-06-01 12:00:00 status installed liberror-perl:all 0.17",
                Level::Info,
            ),
            (
                "2024-06-01 12:00:00 upgrade libgpg-error0:amd64 1.46 1.47",
                Level::Info,
            ),
            ("dpkg: error processing package", Level::Error),
            ("[ERROR] it broke", Level::Error),
            ("Warning: unmet dependencies", Level::Warn),
            ("warning, then failed", Level::Error),
            ("", Level::Info),
        ] {
            assert_eq!(level_of(line), level, "{line}");
        }
    }

    #[test]
    fn lines_are_kept_without_their_ends_and_bad_ones_are_counted() {
        let mut lines = Lines::default();
        for line in [&b"one\r\n"[..], b"\n", b"  two", b" \t\r\n", b"\xff\n"] {
            lines.push(line);
        }

        // Three bytes each, so that the limit comes within one.
        lines.push("€".repeat(LINE_BYTES_MAX).as_bytes());

        assert_eq!(lines.kept[..3], ["one", "  two", "\u{fffd}"]);
        assert_eq!(lines.kept[3].len(), LINE_BYTES_MAX - LINE_BYTES_MAX % 3);
        assert_eq!((lines.empty, lines.not_utf8, lines.shortened), (2, 1, 1));
    }

    #[test]
    fn a_file_that_is_too_long_is_cut_and_one_that_just_fits_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (count, has_more) in [(LINES_MAX, false), (LINES_MAX + 1, true)] {
            std::fs::write(file.path(), "line\n".repeat(count)).unwrap();
            let lines = read(file.path()).unwrap();
            assert_eq!((lines.kept.len(), lines.has_more), (LINES_MAX, has_more));
        }

        let long = "line\n".repeat(7) + &"x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap());
        std::fs::write(file.path(), long).unwrap();
        let lines = read(file.path()).unwrap();
        assert_eq!(
            (lines.kept.len(), lines.has_more),
            (7, true),
            "the part of a line is left out"
        );
    }
}
