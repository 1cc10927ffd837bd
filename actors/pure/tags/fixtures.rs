//! Small files of every format, built byte by byte, and a driver that serves them to a scan.
//!
//! Made here and not by encoders so that every trap can be set exactly and a test can say where each byte lies. The
//! driver holds the scan to its word: no byte asked for twice, none beyond the file, neighbours in one request.

use super::{ByteRange, MAX_REQUESTS, MAX_SCAN_BYTES, TagScan, TagScanResult, TagStep, TrackTags};

/// The first read on local disks and SFTP.
pub(super) const HEAD_BYTES: u64 = 16 << 10;

/// Length of the art that requirement V8's goldens are made with.
pub(super) const LARGE_ART_BYTES: usize = 1_400_000;

/// What a scan came to and cost.
pub(super) struct Outcome {
    pub(super) result: TagScanResult,
    pub(super) num_requests: u32,
    pub(super) num_bytes: u64,
    /// Reads of the longest of its walks.
    pub(super) num_reads: u32,
}

impl Outcome {
    /// The tags, of a file that must have some.
    pub(super) fn tags(&self) -> &TrackTags {
        match &self.result {
            TagScanResult::Tags(tags) => tags,
            TagScanResult::Malformed(reason) => panic!("malformed: {reason}"),
        }
    }

    /// Requests and bytes.
    pub(super) fn cost(&self) -> (u32, u64) {
        (self.num_requests, self.num_bytes)
    }
}

/// Scans a file that is as long as it was listed.
pub(super) fn scan_bytes(name: &[u8], file: &[u8]) -> Outcome {
    scan_with_head(name, file, file.len() as u64, HEAD_BYTES)
}

/// Scans a file that was listed with `size` bytes.
pub(super) fn scan_with_head(name: &[u8], file: &[u8], size: u64, head_bytes: u64) -> Outcome {
    let mut scan = TagScan::new(name, size, head_bytes);
    let mut asked: Vec<ByteRange> = Vec::new();
    let mut num_reads = 0;
    loop {
        let step = scan.step();
        num_reads = num_reads.max(scan.source().num_reads());
        assert!(scan.source().num_known_bytes() as u64 <= MAX_SCAN_BYTES, "more is held than was asked for");
        let ranges = match step {
            TagStep::Need(ranges) => ranges,
            TagStep::Done(result) => {
                let num_bytes = asked.iter().map(|range| range.len).sum();
                assert!(num_bytes <= MAX_SCAN_BYTES && asked.len() <= MAX_REQUESTS as usize);
                return Outcome { result, num_requests: asked.len() as u32, num_bytes, num_reads };
            }
        };
        assert!(!ranges.is_empty());
        assert!(ranges.windows(2).all(|pair| pair[0].offset + pair[0].len < pair[1].offset), "not joined: {ranges:?}");
        for range in ranges {
            assert!(range.len > 0 && range.offset + range.len <= size, "beyond the file: {range:?} of {size}");
            let is_new =
                |old: &ByteRange| range.offset >= old.offset + old.len || old.offset >= range.offset + range.len;
            assert!(asked.iter().all(is_new), "asked twice: {range:?} after {asked:?}");
            asked.push(range);
            let start = (range.offset as usize).min(file.len());
            let end = ((range.offset + range.len) as usize).min(file.len());
            scan.feed(range.offset, &file[start..end]);
        }
    }
}

/// A JPEG by its first bytes, with every byte value in it.
pub(super) fn jpeg(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    bytes[..4].copy_from_slice(&[0xff, 0xd8, 0xff, 0xe0]);
    bytes
}

/// A PNG by its first bytes.
pub(super) fn png(len: usize) -> Vec<u8> {
    let mut bytes = jpeg(len);
    bytes[..8].copy_from_slice(b"\x89PNG\r\n\x1a\n");
    bytes
}

/// The tags of most fixtures, with Vorbis keys.
pub(super) const COMMENTS: [(&str, &str); 5] =
    [("TITLE", "Song"), ("ARTIST", "Band"), ("ALBUM", "Record"), ("TRACKNUMBER", "03"), ("DATE", "2004-05-12")];

/// A block of Vorbis comments.
pub(super) fn vorbis_comments(comments: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&7_u32.to_le_bytes());
    out.extend_from_slice(b"fixture");
    out.extend_from_slice(&(comments.len() as u32).to_le_bytes());
    for (key, value) in comments {
        out.extend_from_slice(&((key.len() + 1 + value.len()) as u32).to_le_bytes());
        out.extend_from_slice(format!("{key}={value}").as_bytes());
    }
    out
}

/// A FLAC picture block.
pub(super) fn picture_block(kind: u32, mime: &str, picture: &[u8]) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend_from_slice(&(mime.len() as u32).to_be_bytes());
    out.extend_from_slice(mime.as_bytes());
    out.extend_from_slice(&[0; 20]);
    out.extend_from_slice(&(picture.len() as u32).to_be_bytes());
    out.extend_from_slice(picture);
    out
}

/// A FLAC metadata block.
pub(super) fn flac_block(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// FLAC: STREAMINFO, comments, pictures of (type, bytes), padding, and a little audio.
pub(super) fn flac(comments: &[(&str, &str)], pictures: &[(u32, &[u8])], padding: usize) -> Vec<u8> {
    let mut out = [b"fLaC".to_vec(), flac_block(0, &[0; 34]), flac_block(4, &vorbis_comments(comments))].concat();
    for (kind, picture) in pictures {
        out.extend(flac_block(6, &picture_block(*kind, "image/jpeg", picture)));
    }
    out.extend(flac_block(0x81, &vec![0; padding]));
    out.extend_from_slice(&[0xff, 0xf8, 0xc9, 0x18]);
    out
}

/// A number with 7 bits per byte.
fn synchsafe(len: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (len >> shift) as u8 & 0x7f)
}

/// An ID3v2 frame of a version.
pub(super) fn frame(version: u8, id: &[u8], content: &[u8]) -> Vec<u8> {
    let size = content.len();
    match version {
        2 => [id, &(size as u32).to_be_bytes()[1..], content].concat(),
        3 => [id, &(size as u32).to_be_bytes(), &[0, 0], content].concat(),
        _ => [id, &synchsafe(size), &[0, 0], content].concat(),
    }
}

/// An ID3v2 tag around frames.
pub(super) fn id3(version: u8, flags: u8, frames: &[u8]) -> Vec<u8> {
    [b"ID3", &[version, 0, flags][..], &synchsafe(frames.len()), frames].concat()
}

/// A front cover's frame content.
pub(super) fn apic(picture: &[u8]) -> Vec<u8> {
    [b"\x00image/jpeg\0\x03\0".as_slice(), picture].concat()
}

/// The usual tags as ID3v2.4 frames.
pub(super) fn id3_frames() -> Vec<u8> {
    let texts: [(&[u8], &str); 5] =
        [(b"TIT2", "Song"), (b"TPE1", "Band"), (b"TALB", "Record"), (b"TRCK", "03/12"), (b"TDRC", "2004-05-12")];
    texts.iter().flat_map(|(id, text)| frame(4, id, format!("\x03{text}").as_bytes())).collect()
}

/// Puts unsynchronisation's zeros in.
pub(super) fn unsynchronise(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, &byte) in bytes.iter().enumerate() {
        out.push(byte);
        let next = bytes.get(index + 1).copied().unwrap_or(0);
        if byte == 0xff && (next == 0 || next >= 0xe0) {
            out.push(0);
        }
    }
    out
}

/// `num` MPEG frames of 128 kbit/s.
pub(super) fn mpeg_audio(num: usize) -> Vec<u8> {
    let mut frame = vec![0; 417];
    frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x64]);
    frame.repeat(num)
}

/// An ID3v1.1 tag.
pub(super) fn id3v1(title: &str, track: u8, genre: u8) -> Vec<u8> {
    let mut tag = vec![0; 128];
    tag[..3].copy_from_slice(b"TAG");
    tag[3..3 + title.len()].copy_from_slice(title.as_bytes());
    tag[33..38].copy_from_slice(b"Band ");
    tag[93..97].copy_from_slice(b"1999");
    tag[126] = track;
    tag[127] = genre;
    tag
}

/// An APEv2 tag with its footer; items are (flags, key, value).
pub(super) fn ape(items: &[(u32, &str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (flags, key, value) in items {
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.push(0);
        out.extend_from_slice(value);
    }
    let size = out.len() as u32 + 32;
    out.extend_from_slice(b"APETAGEX");
    for word in [2000, size, items.len() as u32, 0, 0, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out
}

/// The usual tags as APE items, with this between the fields.
pub(super) fn ape_items<'a>(middle: &[(u32, &'a str, &'a [u8])]) -> Vec<(u32, &'a str, &'a [u8])> {
    let front: [(u32, &str, &[u8]); 2] = [(0, "Title", b"Song"), (0, "Artist", b"Band")];
    let behind: [(u32, &str, &[u8]); 3] = [(0, "Album", b"Record"), (0, "Track", b"03/12"), (0, "Year", b"2004")];
    [&front, middle, &behind].concat()
}

/// A cover as an APE item has it: behind its file name.
pub(super) fn ape_cover(picture: &[u8]) -> Vec<u8> {
    [b"cover.jpg\0".as_slice(), picture].concat()
}

/// One block of `WavPack`, version 4.16, with `num_bytes` of audio.
pub(super) fn wavpack(num_bytes: usize) -> Vec<u8> {
    let size = (num_bytes + 24) as u32;
    [b"wvpk".as_slice(), &size.to_le_bytes(), &0x410_u16.to_le_bytes(), &[0; 22], &vec![0x5a; num_bytes]].concat()
}

/// Monkey's Audio 3.99: descriptor, header, and `num_bytes` of audio.
pub(super) fn monkeys_audio(num_bytes: usize) -> Vec<u8> {
    let descriptor = [&3990_u16.to_le_bytes()[..], &[0; 2], &52_u32.to_le_bytes(), &24_u32.to_le_bytes(), &[0; 36]];
    [b"MAC ".as_slice(), &descriptor.concat(), &[0; 24], &vec![0x5a; num_bytes]].concat()
}

/// Musepack of stream version 7, with `num_bytes` of audio.
pub(super) fn musepack_7(num_bytes: usize) -> Vec<u8> {
    [b"MP+\x17".as_slice(), &[0; 24], &vec![0x5a; num_bytes]].concat()
}

/// Musepack of stream version 8: a stream header packet, and `num_bytes` of audio.
pub(super) fn musepack_8(num_bytes: usize) -> Vec<u8> {
    [b"MPCKSH\x0f".as_slice(), &[0; 4], &[8, 0, 0, 0, 0, 0, 0, 0], &vec![0x5a; num_bytes]].concat()
}

/// One Ogg page.
pub(super) fn ogg_page(flags: u8, serial: u32, sequence: u32, segments: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = b"OggS\0".to_vec();
    out.push(flags);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&serial.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(segments.len() as u8);
    out.extend_from_slice(segments);
    out.extend_from_slice(payload);
    out
}

/// A packet on pages of its own, each with `page_payload` bytes (a multiple of 255) but the last.
pub(super) fn ogg_pages(packet: &[u8], serial: u32, first_sequence: u32, page_payload: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut sequence = first_sequence;
    loop {
        let rest = &packet[at..];
        let flags = u8::from(at > 0);
        if rest.len() >= page_payload {
            let segments = vec![255; page_payload / 255];
            out.extend(ogg_page(flags, serial, sequence, &segments, &rest[..page_payload]));
            at += page_payload;
            sequence += 1;
            continue;
        }
        let mut segments = vec![255; rest.len() / 255];
        segments.push((rest.len() % 255) as u8);
        out.extend(ogg_page(flags, serial, sequence, &segments, rest));
        return out;
    }
}

/// An Ogg file with these identification and comment packets, and some pages behind them.
pub(super) fn ogg(identification: &[u8], comments: &[u8], page_payload: usize) -> Vec<u8> {
    let first = ogg_page(2, 7, 0, &[identification.len() as u8], identification);
    let comments = ogg_pages(comments, 7, 1, page_payload);
    [first, comments, ogg_pages(&[5; 3000], 7, 999, 510)].concat()
}

/// An Opus file.
pub(super) fn opus(comments: &[(&str, &str)], page_payload: usize) -> Vec<u8> {
    let comments = [b"OpusTags".as_slice(), &vorbis_comments(comments)].concat();
    ogg(b"OpusHead\x01\x02\0\0\0\0\0\0\0\0\0", &comments, page_payload)
}

/// A Vorbis file.
pub(super) fn vorbis(comments: &[(&str, &str)], page_payload: usize) -> Vec<u8> {
    let comments = [b"\x03vorbis".as_slice(), &vorbis_comments(comments), b"\x01"].concat();
    ogg(&[b"\x01vorbis".as_slice(), &[0; 23]].concat(), &comments, page_payload)
}

/// A FLAC stream in Ogg.
pub(super) fn ogg_flac(comments: &[(&str, &str)], page_payload: usize) -> Vec<u8> {
    let comments = flac_block(0x84, &vorbis_comments(comments));
    let identification = [b"\x7fFLAC\x01\0\0\x01fLaC".as_slice(), &flac_block(0, &[0; 34])].concat();
    ogg(&identification, &comments, page_payload)
}

/// A FLAC stream in Ogg with pictures of (type, bytes) behind the comments, each in a packet on pages of its own.
pub(super) fn ogg_flac_blocks(comments: &[(&str, &str)], pictures: &[(u32, &[u8])], page_payload: usize) -> Vec<u8> {
    let identification = [b"\x7fFLAC\x01\0\0\x01fLaC".as_slice(), &flac_block(0, &[0; 34])].concat();
    let mut out = ogg_page(2, 7, 0, &[identification.len() as u8], &identification);
    let mut blocks = vec![flac_block(4, &vorbis_comments(comments))];
    blocks.extend(pictures.iter().map(|(kind, picture)| flac_block(6, &picture_block(*kind, "image/jpeg", picture))));
    blocks.push(flac_block(0x81, &[0; 40]));
    let mut sequence = 1;
    for block in blocks {
        out.extend(ogg_pages(&block, 7, sequence, page_payload));
        sequence += (block.len() / page_payload) as u32 + 1;
    }
    [out, ogg_pages(&[5; 3000], 7, sequence, 510)].concat()
}

/// A picture as the value of a Vorbis comment.
pub(super) fn picture_comment(picture: &[u8]) -> String {
    data_encoding::BASE64.encode(&picture_block(3, "image/jpeg", picture))
}

/// An MP4 box.
pub(super) fn mp4_box(kind: &[u8], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes(), kind, body].concat()
}

/// An MP4 tag item with one value.
pub(super) fn mp4_item(kind: &[u8], data_type: u8, value: &[u8]) -> Vec<u8> {
    mp4_box(kind, &mp4_data(data_type, value))
}

/// An MP4 value.
pub(super) fn mp4_data(data_type: u8, value: &[u8]) -> Vec<u8> {
    mp4_box(b"data", &[&[0, 0, 0, data_type, 0, 0, 0, 0], value].concat())
}

/// A freeform MP4 tag.
pub(super) fn mp4_freeform(name: &str, value: &str) -> Vec<u8> {
    let mean = mp4_box(b"mean", b"\0\0\0\0com.apple.iTunes");
    let name = mp4_box(b"name", &[b"\0\0\0\0", name.as_bytes()].concat());
    mp4_box(b"----", &[mean, name, mp4_data(1, value.as_bytes())].concat())
}

/// The usual tags as MP4 items; what is behind the art comes last.
pub(super) fn mp4_items(art: Option<&[u8]>) -> Vec<u8> {
    let mut out = [
        mp4_item(b"\xa9nam", 1, b"Song"),
        mp4_item(b"\xa9ART", 1, b"Band"),
        mp4_item(b"\xa9alb", 1, b"Record"),
        mp4_item(b"\xa9day", 1, b"2004-05-12"),
    ]
    .concat();
    if let Some(art) = art {
        out.extend(mp4_item(b"covr", 13, art));
    }
    out.extend(mp4_item(b"trkn", 0, &[0, 0, 0, 3, 0, 12, 0, 0]));
    out
}

/// A `moov` box with sample tables of `table_len` bytes and these items.
pub(super) fn moov(items: &[u8], table_len: usize) -> Vec<u8> {
    let meta = [b"\0\0\0\0".to_vec(), mp4_box(b"hdlr", &[0; 25]), mp4_box(b"ilst", items)].concat();
    let udta = mp4_box(b"udta", &mp4_box(b"meta", &meta));
    mp4_box(b"moov", &[mp4_box(b"mvhd", &[0; 100]), mp4_box(b"trak", &vec![0; table_len]), udta].concat())
}

/// The first box of an MP4 file.
pub(super) fn ftyp() -> Vec<u8> {
    mp4_box(b"ftyp", b"M4A \0\0\x02\0M4A isom")
}

/// A RIFF chunk, padded to even length.
pub(super) fn chunk(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len() % 2];
    [kind, &(body.len() as u32).to_le_bytes(), body, &padding].concat()
}

/// A list of texts.
pub(super) fn list_info(texts: &[(&[u8], &[u8])]) -> Vec<u8> {
    let texts: Vec<u8> = texts.iter().flat_map(|(kind, text)| chunk(kind, &[text, &b"\0"[..]].concat())).collect();
    chunk(b"LIST", &[b"INFO".as_slice(), &texts].concat())
}

/// A WAV file with `num_samples` bytes of audio and chunks behind it.
pub(super) fn wav(num_samples: usize, behind: &[u8]) -> Vec<u8> {
    let body =
        [b"WAVE".to_vec(), chunk(b"fmt ", &[0; 16]), chunk(b"data", &vec![1; num_samples]), behind.to_vec()].concat();
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// An AIFF chunk, padded to even length.
pub(super) fn aiff_chunk(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len() % 2];
    [kind, &(body.len() as u32).to_be_bytes(), body, &padding].concat()
}

/// An AIFF file of a type with `num_samples` bytes of audio, and chunks on both sides of it.
pub(super) fn aiff(kind: &[u8], front: &[u8], num_samples: usize, behind: &[u8]) -> Vec<u8> {
    let audio = aiff_chunk(b"SSND", &vec![1; num_samples]);
    let body = [kind, &aiff_chunk(b"COMM", &[0; 18]), front, &audio, behind].concat();
    [b"FORM".as_slice(), &(body.len() as u32).to_be_bytes(), &body].concat()
}
