//! Records of `strace`, as far as they are about the files of one directory.

use std::fs;
use std::path::Path;

/// The calls that change files or directories, or say something.
pub(super) const CALLS: &str = "trace=openat,write,pwrite64,ftruncate,fdatasync,fsync,rename,renameat,renameat2,unlink,unlinkat";

/// What a process did. Files are given by their names in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// Opened it; it was made if it was not there, and emptied if that was asked for.
    Open {
        name: String,
        empties: bool,
    },
    /// Wrote behind its end.
    Write {
        name: String,
        bytes: Vec<u8>,
    },
    /// Wrote at an offset.
    WriteAt {
        name: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        name: String,
        len: usize,
    },
    SyncFile {
        name: String,
    },
    SyncDir,
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    /// Told the parent that something is on the disk.
    Say(String),
}

/// The calls of the files of a record, in their order.
pub(super) fn read(traces: &Path, dir: &Path) -> Vec<Call> {
    let mut timed: Vec<(f64, Call)> = Vec::new();
    for file in fs::read_dir(traces).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines() {
            let Some((time, call)) = line.split_once(' ') else {
                continue;
            };
            timed.extend(parse(call, dir).map(|call| (time.parse().unwrap(), call)));
        }
    }

    timed.sort_by(|a, b| a.0.total_cmp(&b.0));
    timed.into_iter().map(|(_, call)| call).collect()
}

/// A call, as `write(5</dir/file>, "\x7b…", 120) = 120`; `None` if it failed or is about something else.
fn parse(line: &str, dir: &Path) -> Option<Call> {
    let (call, result) = line.rsplit_once(" = ")?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }

    let (name, arguments) = call.split_once('(')?;
    let strings = quoted(arguments);
    let in_dir = |path: &[u8]| {
        let path = Path::new(str::from_utf8(path).ok()?);
        Some(path.strip_prefix(dir).ok()?.to_str()?.to_owned())
    };
    let of_descriptor = || {
        let path = arguments.split_once('<')?.1.split_once('>')?.0;
        in_dir(&unescaped(path))
    };

    match name {
        "openat" if arguments.contains("O_CREAT") => Some(Call::Open {
            name: in_dir(strings.first()?)?,
            empties: arguments.contains("O_TRUNC"),
        }),
        "write" if arguments.starts_with("1<") => {
            let text = String::from_utf8(strings.first()?.clone()).ok()?;
            let ack = text.lines().find(|line| line.starts_with("ack "))?;
            Some(Call::Say(ack.to_owned()))
        }
        "write" => {
            let mut bytes = strings.first()?.clone();
            bytes.truncate(result.parse().ok()?);
            Some(Call::Write {
                name: of_descriptor()?,
                bytes,
            })
        }
        "pwrite64" => {
            let mut bytes = strings.first()?.clone();
            bytes.truncate(result.parse().ok()?);
            Some(Call::WriteAt {
                name: of_descriptor()?,
                at: last_number(arguments)?,
                bytes,
            })
        }
        "ftruncate" => Some(Call::Truncate {
            name: of_descriptor()?,
            len: last_number(arguments)?,
        }),
        "fdatasync" | "fsync" => match of_descriptor()? {
            name if name.is_empty() => Some(Call::SyncDir),
            name => Some(Call::SyncFile { name }),
        },
        "rename" | "renameat" | "renameat2" => Some(Call::Rename {
            from: in_dir(strings.first()?)?,
            to: in_dir(strings.get(1)?)?,
        }),
        "unlink" | "unlinkat" => Some(Call::Remove {
            name: in_dir(strings.first()?)?,
        }),
        _ => None,
    }
}

/// The last argument of a call.
fn last_number(arguments: &str) -> Option<usize> {
    let (_, last) = arguments.rsplit_once(", ")?;
    last.trim_end_matches(')').parse().ok()
}

/// The strings of a call.
fn quoted(arguments: &str) -> Vec<Vec<u8>> {
    let texts = arguments.split('"').skip(1).step_by(2);
    texts.map(unescaped).collect()
}

/// The bytes of a text, which has each of them as `\x7b`. Some versions of `strace` write the path of a descriptor as it is.
fn unescaped(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }

    let digits = text.split("\\x").skip(1);
    digits
        .map(|digits| u8::from_str_radix(digits, 16).unwrap())
        .collect()
}

#[test]
fn calls_are_read_as_strace_writes_them() {
    let check = |line: &str, expected: Option<Call>| {
        assert_eq!(parse(line, Path::new("/d")), expected, "{line}");
    };
    let name = || "f".to_owned();

    check(
        r#"openat(AT_FDCWD</x>, "\x2f\x64\x2f\x66", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = 5</d/f>"#,
        Some(Call::Open {
            name: name(),
            empties: true,
        }),
    );
    check(
        r#"write(5<\x2f\x64\x2f\x66>, "\x7b\x0a", 2) = 2"#,
        Some(Call::Write {
            name: name(),
            bytes: b"{\n".to_vec(),
        }),
    );
    check(
        r#"write(5</d/f>, "\x7b\x0a", 2) = 1"#,
        Some(Call::Write {
            name: name(),
            bytes: b"{".to_vec(),
        }),
    );
    check(r#"write(5</other/f>, "\x7b", 1) = 1"#, None);
    check(
        r#"pwrite64(5<\x2f\x64\x2f\x66>, "\x7b\x0a", 2, 4096) = 2"#,
        Some(Call::WriteAt {
            name: name(),
            at: 4096,
            bytes: b"{\n".to_vec(),
        }),
    );
    check(
        "ftruncate(5</d/f>, 10) = 0",
        Some(Call::Truncate {
            name: name(),
            len: 10,
        }),
    );
    check(
        "fdatasync(5</d/f>) = 0",
        Some(Call::SyncFile { name: name() }),
    );
    check("fdatasync(5</d/f>) = -1 EIO (Input/output error)", None);
    check("fsync(4</d>) = 0", Some(Call::SyncDir));
    check(
        r#"rename("\x2f\x64\x2f\x66", "\x2f\x64\x2f\x67") = 0"#,
        Some(Call::Rename {
            from: name(),
            to: "g".to_owned(),
        }),
    );
    check(
        r#"unlink("\x2f\x64\x2f\x66") = 0"#,
        Some(Call::Remove { name: name() }),
    );
    check(
        r#"write(1<pipe:[7]>, "\x0a\x61\x63\x6b\x20\x70\x3b\x0a", 8) = 8"#,
        Some(Call::Say("ack p;".to_owned())),
    );
}
