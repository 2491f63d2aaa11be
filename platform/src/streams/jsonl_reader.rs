//! Reads the JSON Lines segments while processes append to them and old ones are removed.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;

use super::jsonl::{segment_path, segments};
use super::{Page, ReadError, ReadRecord, Shard, Stream, StreamReader, Trouble};
use crate::clock::{SharedClock, parse_rfc3339};
use crate::files;

/// The one shard of a stream of files.
pub const SHARD: &str = "0";
/// Bytes after which a page ends, whatever was asked for.
///
/// Source: as much as one answer of Kinesis may have, 10 MiB; a line is at most one record of 1 MiB.
const PAGE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// How soon the files are looked at again.
const IDLE: Duration = Duration::from_millis(200);

/// What of a line is looked at.
#[derive(Deserialize)]
struct Keyed<'l> {
    #[serde(borrow)]
    partitionkey: Cow<'l, str>,
    #[serde(borrow, default)]
    time: Cow<'l, str>,
}

/// Reads what [`JsonlStreams`](super::JsonlStreams) of any process has written into a folder.
///
/// A position is `<segment>:<offset of the end of the line>`. Only what is durable is read: a writer holds
/// the lock until it has flushed, and the length of a segment is looked at under it.
pub struct JsonlReader {
    dir: PathBuf,
    clock: SharedClock,
}

impl JsonlReader {
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, clock: SharedClock) -> Self {
        let dir = dir.into();
        Self { dir, clock }
    }
}

#[async_trait]
impl StreamReader for JsonlReader {
    async fn shards(&self, _: Stream) -> Result<Vec<Shard>, ReadError> {
        let (id, parents) = (SHARD.to_owned(), Vec::new());
        Ok(vec![Shard { id, parents }])
    }

    async fn read(
        &self,
        stream: Stream,
        shard: &str,
        after: Option<&str>,
        n_max: usize,
    ) -> Result<Page, ReadError> {
        if shard != SHARD {
            let shard = shard.to_owned();
            return Err(ReadError::NoSuchShard { stream, shard });
        }
        let after = match after {
            None => Place::default(),
            Some(text) => Place::parse(text).ok_or_else(|| ReadError::NoPosition {
                stream,
                position: text.to_owned(),
            })?,
        };
        let (dir, now_ms) = (self.dir.clone(), self.clock.now_ms());
        let reading = files::blocking(move || {
            let mut reading = Reading::find(dir, stream, after)?;
            reading.read(n_max)?;
            Ok(reading.page(now_ms))
        });
        reading.await.map_err(|error| ReadError::Unavailable {
            stream,
            source: error.into(),
        })
    }

    fn idle(&self) -> Duration {
        IDLE
    }
}

/// The end of a line, or the beginning of a segment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Place {
    segment: u32,
    offset: u64,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (segment, offset) = text.split_once(':')?;
        Some(Self {
            segment: segment.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    }

    fn text(self) -> String {
        format!("{}:{}", self.segment, self.offset)
    }
}

/// A page on its way.
struct Reading {
    dir: PathBuf,
    stream: Stream,
    place: Place,
    /// Numbers and durable lengths of the segments from `place` on.
    segments: Vec<(u32, u64)>,
    records: Vec<ReadRecord>,
    troubles: Vec<Trouble>,
    n_bytes: usize,
    is_at_end: bool,
    has_moved: bool,
    last_ms: Option<i64>,
}

impl Reading {
    /// Looks at the files under the lock of their writers, and finds where to go on.
    fn find(dir: PathBuf, stream: Stream, after: Place) -> io::Result<Self> {
        let mut it = Self {
            dir,
            stream,
            place: after,
            segments: Vec::new(),
            records: Vec::new(),
            troubles: Vec::new(),
            n_bytes: 0,
            is_at_end: true,
            has_moved: false,
            last_ms: None,
        };
        if !it.dir.is_dir() {
            return Ok(it);
        }
        let lock = files::open_to_append(&it.dir.join(format!("{}.lock", stream.name())))?;
        lock.lock_shared()?;
        let numbers = segments(&it.dir, stream)?;
        // Whoever empties or restores the folder begins behind what was read.
        let is_anew = numbers.iter().all(|it| *it < after.segment);
        for number in numbers {
            if is_anew || after.segment <= number {
                let length = it.file(number)?.metadata()?.len();
                it.segments.push((number, length));
            }
        }
        drop(lock);
        let Some(&(first, length)) = it.segments.first() else {
            return Ok(it);
        };
        if first != after.segment {
            // From the beginning there is nothing to miss.
            if after != Place::default() {
                let what = "the segment was removed; what of it was not read is lost";
                it.trouble(after, what);
            }
            it.go_to(first, 0);
        } else if !it.ends_a_line(length)? {
            let what = "no line ends here any more; its segment is read anew";
            it.trouble(after, what);
            it.go_to(first, 0);
        }
        Ok(it)
    }

    fn file(&self, segment: u32) -> io::Result<File> {
        File::open(segment_path(&self.dir, self.stream, segment))
    }

    fn go_to(&mut self, segment: u32, offset: u64) {
        self.place = Place { segment, offset };
        self.has_moved = true;
    }

    fn trouble(&mut self, place: Place, what: &'static str) {
        let position = place.text();
        self.troubles.push(Trouble { position, what });
    }

    /// Whether the place is still where a line ends: after a power loss a segment may have become shorter,
    /// and grown again with other lines.
    fn ends_a_line(&self, length: u64) -> io::Result<bool> {
        let Place { segment, offset } = self.place;
        if offset == 0 {
            return Ok(true);
        }
        if length < offset {
            return Ok(false);
        }
        let mut file = self.file(segment)?;
        file.seek(SeekFrom::Start(offset - 1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }

    fn read(&mut self, n_max: usize) -> io::Result<()> {
        let segments = std::mem::take(&mut self.segments);
        for (index, &(number, length)) in segments.iter().enumerate() {
            if number != self.place.segment {
                self.go_to(number, 0);
            }
            self.is_at_end = false;
            if !self.read_segment(length, n_max)? {
                return Ok(());
            }
            let is_last = index + 1 == segments.len();
            if !is_last && self.place.offset < length {
                let what = "the last line of a full segment has no end";
                self.trouble(self.place, what);
            }
        }
        self.is_at_end = true;
        Ok(())
    }

    /// Reads whole lines of the segment up to `length`; whether all of them were read.
    fn read_segment(&mut self, length: u64, n_max: usize) -> io::Result<bool> {
        let start = self.place.offset;
        if length <= start {
            return Ok(true);
        }
        let mut file = self.file(self.place.segment)?;
        file.seek(SeekFrom::Start(start))?;
        let mut lines = BufReader::new(file.take(length - start));
        let mut line = Vec::new();
        loop {
            if n_max <= self.records.len() || PAGE_BYTES_MAX <= self.n_bytes {
                return Ok(false);
            }
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                // A writer is in the middle of it, or died there: the next one cuts it off.
                return Ok(true);
            }
            let begin = self.place;
            let end = begin.offset + line.len() as u64 + 1;
            self.go_to(begin.segment, end);
            self.n_bytes += line.len();
            self.take(begin, &line);
        }
    }

    fn take(&mut self, begin: Place, line: &[u8]) {
        let Ok(keyed) = serde_json::from_slice::<Keyed<'_>>(line) else {
            self.trouble(begin, "the line is no event of ours");
            return;
        };
        self.last_ms = parse_rfc3339(&keyed.time).or(self.last_ms);
        self.records.push(ReadRecord {
            partition_key: keyed.partitionkey.into_owned(),
            bytes: Bytes::copy_from_slice(line),
            position: self.place.text(),
        });
    }

    fn page(self, now_ms: i64) -> Page {
        let behind_ms = match self.last_ms {
            Some(last_ms) if !self.is_at_end => (now_ms - last_ms).max(1),
            _ => 0,
        };
        Page {
            records: self.records,
            troubles: self.troubles,
            reached: self.has_moved.then(|| self.place.text()),
            is_closed: false,
            behind_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::streams::{JsonlStreams, StreamRecord, Streams};

    fn line(n: usize) -> String {
        format!(r#"{{"partitionkey":"wf","time":"2026-01-31T23:59:59.123Z","n":{n}}}"#)
    }

    async fn publish(streams: &JsonlStreams, numbers: impl IntoIterator<Item = usize>) {
        let record = |n| StreamRecord {
            partition_key: "wf".to_owned(),
            bytes: Bytes::from(line(n)),
        };
        let records: Vec<StreamRecord> = numbers.into_iter().map(record).collect();
        streams.append(Stream::Audit, &records).await.unwrap();
    }

    async fn read(dir: &Path, after: Option<&str>, n_max: usize) -> Page {
        let reader = JsonlReader::new(dir, Arc::new(SystemClock));
        let page = reader.read(Stream::Audit, SHARD, after, n_max).await;
        page.unwrap()
    }

    #[track_caller]
    fn assert_lines(page: &Page, numbers: impl IntoIterator<Item = usize>) {
        let expected: Vec<Bytes> = numbers.into_iter().map(|it| line(it).into()).collect();
        let found: Vec<Bytes> = page.records.iter().map(|it| it.bytes.clone()).collect();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn what_two_processes_write_is_read_in_order_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), None, 10).await, Page::default());
        let both = [
            JsonlStreams::open_with(dir.path(), 200).unwrap(),
            JsonlStreams::open_with(dir.path(), 200).unwrap(),
        ];
        let mut position = None;
        for n in 0..20 {
            publish(&both[n % 2], 2 * n..2 * n + 2).await;
            let page = read(dir.path(), position.as_deref(), 10).await;
            assert_lines(&page, 2 * n..2 * n + 2);
            assert_eq!(page.behind_ms, 0);
            assert_eq!(page.records[0].partition_key, "wf");
            position = page.reached;
        }
        let position = position.unwrap();
        assert!(
            !position.starts_with("1:"),
            "{position} is in a later segment"
        );
        let page = read(dir.path(), None, 7).await;
        assert_lines(&page, 0..7);
        assert!(0 < page.behind_ms);
        let page = read(dir.path(), Some(&page.records[3].position), 100).await;
        assert_lines(&page, 4..40);
        let end = read(dir.path(), page.reached.as_deref(), 100).await;
        assert_eq!(end, Page::default());
    }

    #[tokio::test]
    async fn a_line_is_read_when_it_has_its_end() {
        let dir = tempfile::tempdir().unwrap();
        publish(&JsonlStreams::open(dir.path()).unwrap(), [0]).await;
        let path = dir.path().join("audit-000001.jsonl");
        let mut file = files::open_to_append(&path).unwrap();
        file.write_all(line(1).as_bytes()).unwrap();
        let page = read(dir.path(), None, 10).await;
        assert_lines(&page, [0]);
        assert_eq!(page.troubles, []);
        file.write_all(b"\n").unwrap();
        assert_lines(&read(dir.path(), page.reached.as_deref(), 10).await, [1]);
    }

    #[tokio::test]
    async fn a_corrupt_line_is_named_and_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        publish(&JsonlStreams::open(dir.path()).unwrap(), [0]).await;
        let path = dir.path().join("audit-000001.jsonl");
        let begin = fs::metadata(&path).unwrap().len();
        let mut file = files::open_to_append(&path).unwrap();
        file.write_all(b"{\"partitionkey\":\"wf\",\xff}\n").unwrap();
        publish(&JsonlStreams::open(dir.path()).unwrap(), [2]).await;
        let page = read(dir.path(), None, 10).await;
        assert_lines(&page, [0, 2]);
        assert_eq!(page.troubles[0].position, format!("1:{begin}"));
        assert_eq!(page.troubles.len(), 1);
        // A page that ends with it does not begin with it again.
        let page = read(dir.path(), Some(&page.records[0].position), 1).await;
        assert_lines(&page, [2]);
    }

    #[tokio::test]
    async fn segments_that_were_removed_are_named_and_reading_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let streams = JsonlStreams::open_with(dir.path(), 1).unwrap();
        for n in 0..4 {
            publish(&streams, [n]).await;
        }
        let page = read(dir.path(), None, 1).await;
        for number in [1, 2] {
            fs::remove_file(segment_path(dir.path(), Stream::Audit, number)).unwrap();
        }
        let page = read(dir.path(), page.reached.as_deref(), 10).await;
        assert_lines(&page, [2, 3]);
        assert_eq!(page.troubles.len(), 1, "{:?}", page.troubles);
        // Who begins has missed nothing that could be had.
        assert_eq!(read(dir.path(), None, 10).await.troubles, []);
    }

    #[tokio::test]
    async fn a_folder_that_begins_behind_what_was_read_is_read_from_its_beginning() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let streams = JsonlStreams::open_with(old.path(), 1).unwrap();
        for n in 0..3 {
            publish(&streams, [n]).await;
        }
        let reached = read(old.path(), None, 10).await.reached;
        publish(&JsonlStreams::open(new.path()).unwrap(), 7..9).await;
        let page = read(new.path(), reached.as_deref(), 10).await;
        assert_lines(&page, [7, 8]);
        assert_eq!(page.troubles.len(), 1, "{:?}", page.troubles);
    }

    #[tokio::test]
    async fn a_segment_that_a_power_loss_has_cut_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let streams = JsonlStreams::open(dir.path()).unwrap();
        publish(&streams, 0..3).await;
        let read_before = read(dir.path(), None, 10).await;
        let path = dir.path().join("audit-000001.jsonl");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(line(0).len() as u64 + 1).unwrap();
        let page = read(dir.path(), read_before.reached.as_deref(), 10).await;
        assert_lines(&page, [0]);
        assert_eq!(page.troubles.len(), 1);
    }

    #[tokio::test]
    async fn another_readers_position_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let reader = JsonlReader::new(dir.path(), Arc::new(SystemClock));
        let read = reader.read(
            Stream::Audit,
            SHARD,
            Some("49590338271490256608559692538361571095921575989136588898"),
            1,
        );
        assert!(matches!(read.await, Err(ReadError::NoPosition { .. })));
        let read = reader.read(Stream::Audit, "shardId-000000000000", None, 1);
        assert!(matches!(read.await, Err(ReadError::NoSuchShard { .. })));
    }
}
