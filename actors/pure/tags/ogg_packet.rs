//! Ogg pages (RFC 3533), and one packet of a stream as if it lay in one piece.
//!
//! A packet is read forwards. To get far ahead, behind a picture, every page in between would have to be visited for its
//! length; but encoders fill pages evenly, so the page that is needed is predicted from the present one's length and
//! checked when it is there: capture pattern, stream, and a sequence number that says exactly as many pages lie between.
//! A wrong prediction costs one request; then pages are followed one by one and the prediction is tried again from the
//! next, since often only the first page is of another length.

use super::scan::{ByteRange, MalformedReason};
use super::source::{HOP_BYTES, Hop, Source, Stop};

/// A page header with its 255 segment lengths.
pub(super) const MAX_PAGE_HEADER_BYTES: usize = 27 + 255;

/// Predictions that may fail for one packet: each costs a request of twelve.
const MAX_MISPREDICTIONS: u32 = 3;

/// A page's header, as far as one packet that starts or continues at its beginning is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Begins a stream.
    pub(super) is_first: bool,
    /// Continues a packet of the page before.
    pub(super) is_continued: bool,
    /// The stream.
    pub(super) serial: u32,
    /// Counts the pages of a stream.
    pub(super) sequence: u32,
    /// Length of the header.
    pub(super) header_len: usize,
    /// Length of what follows it.
    pub(super) payload_len: usize,
    /// How much of that belongs to the first packet on the page.
    pub(super) first_packet_len: usize,
    /// Whether that packet ends on the page.
    pub(super) ends_packet: bool,
}

impl PageHeader {
    /// Reads a header; `None` if there is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<27>()?;
        if !fixed.starts_with(b"OggS\0") {
            return None;
        }
        let segments = rest.get(..usize::from(fixed[26]))?;
        let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let end = segments.iter().position(|&len| len < 255);
        let in_packet = end.map_or(segments, |end| &segments[..=end]);
        let sum = |lens: &[u8]| lens.iter().map(|&len| usize::from(len)).sum();
        Some(Self {
            is_first: fixed[5] & 2 != 0,
            is_continued: fixed[5] & 1 != 0,
            serial: word(14),
            sequence: word(18),
            header_len: 27 + segments.len(),
            payload_len: sum(segments),
            first_packet_len: sum(in_packet),
            ends_packet: end.is_some(),
        })
    }

    /// Length of the page.
    pub(super) fn len(&self) -> u64 {
        (self.header_len + self.payload_len) as u64
    }
}

/// The page at an offset; `None` if there is none.
pub(super) fn page_at(source: &Source, at: u64, hop: Hop) -> Result<Option<PageHeader>, Stop> {
    let fixed = source.read(at, 27, hop)?;
    if !fixed.starts_with(b"OggS\0") {
        return Ok(None);
    }
    Ok(PageHeader::parse(source.read(at, 27 + u64::from(fixed[26]), hop)?))
}

/// The present page of a packet.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Offset of the page in the file.
    at: u64,
    header: PageHeader,
    /// Offset in the packet of the page's first byte.
    start: u64,
}

impl Span {
    fn end(&self) -> u64 {
        self.start + self.header.first_packet_len as u64
    }
}

/// A packet that starts at the beginning of a page.
pub(super) struct PagedPacket<'a> {
    source: &'a Source,
    span: Span,
    num_mispredictions: u32,
}

impl<'a> PagedPacket<'a> {
    /// The packet on the page `header` at `at`.
    pub(super) fn new(source: &'a Source, at: u64, header: PageHeader) -> Self {
        Self { source, span: Span { at, header, start: 0 }, num_mispredictions: 0 }
    }

    /// Where the page with the present position is, and where in the packet it begins.
    pub(super) fn page(&self) -> (u64, u64) {
        (self.span.at, self.span.start)
    }

    /// First byte behind the present page.
    pub(super) fn page_end(&self) -> u64 {
        self.span.at + self.span.header.len()
    }

    /// Goes to the page that has the byte at `offset`. With `then_reads`, what is there will be read next.
    pub(super) fn seek(&mut self, offset: u64, then_reads: bool) -> Result<(), Stop> {
        if offset < self.span.start {
            return Err(Stop::Malformed(MalformedReason::BadStructure));
        }
        while offset >= self.span.end() {
            if self.span.header.ends_packet {
                return Err(Stop::Malformed(MalformedReason::BadStructure));
            }
            self.span = match self.predicted_span(offset, then_reads)? {
                Some(span) => span,
                None => self.next_span()?,
            };
        }
        Ok(())
    }

    /// The page that has `offset`, or the one behind which it is, if the pages up to there are as long as this one.
    fn predicted_span(&mut self, offset: u64, then_reads: bool) -> Result<Option<Span>, Stop> {
        let Span { header, start, .. } = self.span;
        let num_skipped = (offset - self.span.end()) / header.payload_len.max(1) as u64;
        let is_full = header.first_packet_len == header.payload_len && header.payload_len > 0;
        if num_skipped == 0 || !is_full || self.num_mispredictions >= MAX_MISPREDICTIONS {
            return Ok(None);
        }
        let num_pages = num_skipped + 1;
        let at = self.span.at.saturating_add(num_pages.saturating_mul(header.len()));
        let start = start + num_pages * header.payload_len as u64;
        if at.saturating_add(27) > self.source.size() {
            self.num_mispredictions += 1;
            return Ok(None);
        }
        // the header may be shorter than this page's, so what follows may begin earlier
        let text = then_reads.then(|| ByteRange { offset: at + 27 + (offset - start), len: HOP_BYTES });
        let page = match page_at(self.source, at, Hop { bytes: MAX_PAGE_HEADER_BYTES as u64, end: u64::MAX }) {
            Err(Stop::Need(ranges)) => return Err(Stop::Need(ranges.into_iter().chain(text).collect())),
            other => other?,
        };
        let sequence = header.sequence.checked_add(u32::try_from(num_pages).unwrap_or(u32::MAX));
        let is_right = |page: &PageHeader| {
            page.serial == header.serial && Some(page.sequence) == sequence && page.is_continued && !page.is_first
        };
        let span = page.filter(is_right).map(|header| Span { at, header, start });
        self.num_mispredictions += u32::from(span.is_none());
        Ok(span)
    }

    /// The packet behind this one, whose last byte is at `last`, if it begins on a page of its own.
    pub(super) fn next_packet(mut self, last: u64) -> Result<Option<Self>, Stop> {
        self.seek(last, false)?;
        let header = self.span.header;
        if !header.ends_packet || header.first_packet_len != header.payload_len {
            return Ok(None);
        }
        let next = self.next_span()?;
        Ok((!next.header.is_continued).then(|| Self::new(self.source, next.at, next.header)))
    }

    /// The next page of the stream.
    fn next_span(&self) -> Result<Span, Stop> {
        let mut at = self.page_end();
        loop {
            let page = page_at(self.source, at, Hop::within(u64::MAX))?;
            let header = page.ok_or(Stop::Malformed(MalformedReason::BadStructure))?;
            if header.serial == self.span.header.serial {
                return Ok(Span { at, header, start: self.span.end() });
            }
            at += header.len();
        }
    }

    /// Bytes of the packet, from pages as many as they lie on. Goes to the first of them, not beyond.
    pub(super) fn read(&mut self, mut offset: u64, len: u64) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        let mut missing = len;
        if missing > 0 {
            self.seek(offset, true)?;
        }
        let first = self.span;
        while missing > 0 {
            self.seek(offset, true)?;
            let num_here = missing.min(self.span.end() - offset);
            let at = self.span.at + self.span.header.header_len as u64 + (offset - self.span.start);
            bytes.extend_from_slice(self.source.read(at, num_here, Hop::within(u64::MAX))?);
            offset += num_here;
            missing -= num_here;
        }
        self.span = first;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use proptest::prelude::*;

    fn known(file: &[u8]) -> Source {
        let mut source = Source::new(file.len() as u64);
        source.insert(0, file);
        source
    }

    proptest! {
        /// Any part of a packet is what it was before it was cut into pages.
        #[test]
        fn packet_reads_as_if_in_one_piece(
            len in 1_usize..5000,
            page_payload in 1_usize..6,
            at in 0.0_f64..1.0,
            read_len in 1_u64..600,
        ) {
            let packet: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
            let file = fixtures::ogg_pages(&packet, 7, 1, page_payload * 255);
            let source = known(&file);
            let header = PageHeader::parse(&file[..MAX_PAGE_HEADER_BYTES.min(file.len())]).expect("a page");
            let mut paged = PagedPacket::new(&source, 0, header);
            let offset = (at * len as f64) as u64;
            let end = (offset + read_len) as usize;
            match packet.get(offset as usize..end) {
                Some(bytes) => prop_assert_eq!(paged.read(offset, read_len).expect("known"), bytes),
                None => prop_assert!(paged.read(offset, read_len).is_err()),
            }
        }
    }

    #[test]
    fn page_of_another_stream_is_passed_by() {
        let packet = vec![1; 600];
        let ours = fixtures::ogg_pages(&packet, 7, 1, 255);
        let theirs = fixtures::ogg_pages(&[9; 100], 8, 1, 255);
        let page_len = 27 + 1 + 255;
        let file = [&ours[..page_len], &theirs, &ours[page_len..]].concat();
        let source = known(&file);
        let header = PageHeader::parse(&file[..MAX_PAGE_HEADER_BYTES]).expect("a page");
        let mut paged = PagedPacket::new(&source, 0, header);
        assert_eq!(paged.read(0, 600), Ok(packet));
    }
}
