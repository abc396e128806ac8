//! The places that a logger writes to: a file that the library `logroller` rotates, and the console.

use std::ffi::OsStr;
use std::path::Path;

use logroller::{LogRoller, LogRollerBuilder, Rotation, RotationSize};
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FormatFields, Layer as Lines};
use tracing_subscriber::{Layer, Registry, field::RecordFields};

use super::LoggerError;
use super::dropped::DroppedLines;
use super::file::File;
use super::pending;
use super::queue::LogQueue;
use crate::config::{LineFormat, LoggerConfig};

/// What writes lines in one format to one place.
pub(super) type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// The fields of a span in a line for people. A type of its own, because those that the server's own log has made for
/// itself may have colours.
#[derive(Default)]
pub(super) struct PlainFields(DefaultFields);

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> std::fmt::Result {
        self.0.format_fields(writer, fields)
    }
}

/// Lines in a format, on their way into a queue.
pub(super) fn lines(format: LineFormat, queue: LogQueue) -> Output {
    let lines = Lines::default().with_ansi(false).with_writer(queue);
    match format {
        LineFormat::Text => lines
            .with_target(false)
            .fmt_fields(PlainFields::default())
            .boxed(),
        LineFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// The queue of a logger's file, with the thread that writes it: after all lines of `earlier`, which write to the same file.
/// What it drops is added to `dropped`.
pub(super) fn file(
    config: &LoggerConfig,
    earlier: Vec<LogQueue>,
    dropped: DroppedLines,
) -> Result<LogQueue, LoggerError> {
    let wrong = |reason: String| LoggerError::File {
        logger: config.name.clone(),
        file: config.file.clone(),
        reason,
    };

    let output = File::open(config, roller, earlier).map_err(wrong)?;

    let logger = config.name.clone();
    let report_dropped = move |dropped| {
        tracing::error!(
            logger,
            dropped,
            "lines of a logger were dropped: its file was not written as fast as they came; log less (`level`), or raise \
             `lines_bytes_max`"
        );
    };

    LogQueue::start_counting(config.lines_bytes_max, output, report_dropped, dropped).map_err(
        |error| {
            wrong(format!(
                "the thread that writes it cannot be started: {error}"
            ))
        },
    )
}

fn roller(config: &LoggerConfig) -> Result<LogRoller, String> {
    let name = config.file.file_name().and_then(OsStr::to_str);
    let name = name.ok_or("the path does not end with the name of a file")?;
    let dir = match config.file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };

    pending::publish(&config.file, config.files_max);
    LogRollerBuilder::new(dir, Path::new(name))
        .rotation(Rotation::SizeBased(RotationSize::Bytes(
            config.file_bytes_max,
        )))
        .max_keep_files(config.files_max)
        // A flush waits until full files have their new names: this thread may, and there are never more than these.
        .graceful_shutdown(true)
        .build()
        .map_err(|error| error.to_string())
}
