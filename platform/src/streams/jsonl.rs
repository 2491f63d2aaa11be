//! The streams as JSON Lines segments in a folder.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Stream, StreamError, StreamRecord, Streams};
use crate::files;
use crate::flushes::{self, Flushed};

/// Size at which a segment is closed and the next one begins, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Streams as files `<dir>/audit-000001.jsonl`, one flush an append.
///
/// Several processes may append to one folder: a lock file orders them.
pub struct JsonlStreams {
    dir: PathBuf,
    segment_bytes_max: u64,
    audit: Arc<Mutex<Option<Segment>>>,
    analytics: Arc<Mutex<Option<Segment>>>,
}

/// The segment that this process wrote last.
struct Segment {
    number: u32,
    file: File,
    /// Where our last append ended. The file is longer when another process, or
    /// an append that failed half-way, came after it.
    end: u64,
}

impl JsonlStreams {
    /// Opens the folder, and creates it if it is not there.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        Self::open_with(dir, SEGMENT_BYTES_MAX)
    }

    pub(super) fn open_with(dir: impl Into<PathBuf>, segment_bytes_max: u64) -> io::Result<Self> {
        let dir = dir.into();
        files::create_private_dir(&dir)?;
        Ok(Self {
            dir,
            segment_bytes_max,
            audit: Arc::default(),
            analytics: Arc::default(),
        })
    }
}

#[async_trait]
impl Streams for JsonlStreams {
    async fn append(&self, stream: Stream, records: &[StreamRecord]) -> Result<(), StreamError> {
        if let Some(index) = records.iter().position(|it| it.bytes.contains(&b'\n')) {
            return Err(StreamError::NotOneLine { index });
        }
        let n_bytes = records.iter().map(|it| it.bytes.len() + 1).sum();
        let mut lines = Vec::with_capacity(n_bytes);
        for record in records {
            lines.extend_from_slice(&record.bytes);
            lines.push(b'\n');
        }
        let current = match stream {
            Stream::Audit => Arc::clone(&self.audit),
            Stream::Analytics => Arc::clone(&self.analytics),
        };
        let (dir, segment_bytes_max) = (self.dir.clone(), self.segment_bytes_max);
        files::blocking(move || {
            let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
            append(&dir, stream, &mut current, &lines, segment_bytes_max)
        })
        .await
        .map_err(|error| StreamError::Unavailable {
            stream,
            source: error.into(),
        })
    }
}

fn append(
    dir: &Path,
    stream: Stream,
    current: &mut Option<Segment>,
    lines: &[u8],
    segment_bytes_max: u64,
) -> io::Result<()> {
    // Held until the append is durable, so that nobody sees half of it.
    let lock = files::open_to_append(&dir.join(format!("{}.lock", stream.name())))?;
    lock.lock()?;

    let mut segment = match current.take() {
        Some(segment) if !segment_path(dir, stream, segment.number + 1).exists() => segment,
        _ => open_segment(dir, stream, last_segment(dir, stream)?.unwrap_or(1))?,
    };
    if segment.file.metadata()?.len() != segment.end {
        segment.end = drop_torn_line(&mut segment.file)?;
    }
    if segment_bytes_max <= segment.end {
        segment = open_segment(dir, stream, segment.number + 1)?;
    }
    segment.file.write_all(lines)?;
    segment.file.sync_data()?;
    flushes::count(Flushed::Streams);
    segment.end += lines.len() as u64;
    *current = Some(segment);
    Ok(())
}

pub(super) fn segment_path(dir: &Path, stream: Stream, number: u32) -> PathBuf {
    dir.join(format!("{}-{number:06}.jsonl", stream.name()))
}

fn open_segment(dir: &Path, stream: Stream, number: u32) -> io::Result<Segment> {
    let mut file = files::open_to_append(&segment_path(dir, stream, number))?;
    files::sync_dir(dir)?;
    let end = drop_torn_line(&mut file)?;
    Ok(Segment { number, file, end })
}

fn last_segment(dir: &Path, stream: Stream) -> io::Result<Option<u32>> {
    Ok(segments(dir, stream)?.last().copied())
}

/// The numbers of the segments that are there, in their order.
pub(super) fn segments(dir: &Path, stream: Stream) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|it| {
            it.strip_prefix(stream.name())?
                .strip_prefix('-')?
                .strip_suffix(".jsonl")
        });
        numbers.extend(number.and_then(|it| it.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Cuts what a crash left of a line, which nobody was told is published, and gives the new length.
fn drop_torn_line(file: &mut File) -> io::Result<u64> {
    const WINDOW_BYTES: u64 = 64 * 1024;

    let mut end = file.metadata()?.len();
    while 0 < end {
        let start = end.saturating_sub(WINDOW_BYTES);
        let mut window = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file)
            .take(end - start)
            .read_to_end(&mut window)?;
        if let Some(newline) = window.iter().rposition(|it| *it == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end != file.metadata()?.len() {
        file.set_len(end)?;
    }
    Ok(end)
}

/// Every record of a stream in a folder, oldest first.
///
/// # Errors
///
/// What the file system says.
pub fn read_jsonl(dir: &Path, stream: Stream) -> io::Result<Vec<Bytes>> {
    let mut records = Vec::new();
    for number in segments(dir, stream)? {
        let segment = fs::read(segment_path(dir, stream, number))?;
        let whole = segment
            .iter()
            .rposition(|it| *it == b'\n')
            .map_or(0, |it| it + 1);
        let lines = segment[..whole].split_inclusive(|it| *it == b'\n');
        records.extend(lines.map(|line| Bytes::copy_from_slice(&line[..line.len() - 1])));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> StreamRecord {
        StreamRecord {
            partition_key: "wf".to_owned(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    #[tokio::test]
    async fn the_jsonl_streams_conform() {
        let dir = tempfile::tempdir().unwrap();
        let streams = JsonlStreams::open(dir.path()).unwrap();
        let read = |stream| {
            let records = read_jsonl(dir.path(), stream).unwrap();
            async { records }
        };
        crate::conformance::streams(&streams, read).await;
    }

    #[tokio::test]
    async fn a_full_segment_is_followed_by_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let streams = JsonlStreams::open_with(dir.path(), 10).unwrap();
        for n in 0..9 {
            streams
                .append(Stream::Audit, &[record(&format!("{{\"n\":{n}}}"))])
                .await
                .unwrap();
        }
        // Eight bytes a line: every segment is full after its second line.
        assert_eq!(last_segment(dir.path(), Stream::Audit).unwrap(), Some(5));
        let first = fs::read_to_string(dir.path().join("audit-000001.jsonl")).unwrap();
        assert_eq!(first, "{\"n\":0}\n{\"n\":1}\n");
        assert_eq!(read_jsonl(dir.path(), Stream::Audit).unwrap().len(), 9);
    }

    #[tokio::test]
    async fn two_processes_share_a_stream_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let both = [
            JsonlStreams::open_with(dir.path(), 50).unwrap(),
            JsonlStreams::open_with(dir.path(), 50).unwrap(),
        ];
        for n in 0..40 {
            both[n % 2]
                .append(Stream::Audit, &[record(&n.to_string())])
                .await
                .unwrap();
        }
        let read = read_jsonl(dir.path(), Stream::Audit).unwrap();
        let expected: Vec<String> = (0..40).map(|it: usize| it.to_string()).collect();
        assert_eq!(read, expected);
        assert!(1 < last_segment(dir.path(), Stream::Audit).unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_line_that_a_crash_tore_is_dropped_before_the_next_append() {
        let dir = tempfile::tempdir().unwrap();
        let before = JsonlStreams::open(dir.path()).unwrap();
        before
            .append(Stream::Audit, &[record("one")])
            .await
            .unwrap();
        let path = dir.path().join("audit-000001.jsonl");
        let torn = "x".repeat(100_000);
        files::open_to_append(&path)
            .unwrap()
            .write_all(torn.as_bytes())
            .unwrap();
        assert_eq!(read_jsonl(dir.path(), Stream::Audit).unwrap(), ["one"]);

        let after = JsonlStreams::open(dir.path()).unwrap();
        after.append(Stream::Audit, &[record("two")]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        before
            .append(Stream::Audit, &[record("three")])
            .await
            .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    }
}
