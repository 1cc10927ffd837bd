//! Music to order: FLAC and MP3 files of a few kilobytes, built without an encoder.
//!
//! A FLAC is a STREAMINFO of 42 bytes with the magic, a Vorbis comment, perhaps a picture, and bytes that stand for audio;
//! an MP3 is an ID3v2.4 tag and silent frames. That is enough for everything that reads tags, and thousands can be made
//! in a second. What must really be decoded comes from `encode`.

/// What a track says about itself; what is empty is not in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) title: String,
    pub(crate) artist: String,
    pub(crate) albumartist: String,
    pub(crate) album: String,
    pub(crate) date: String,
    pub(crate) number: String,
    pub(crate) disc: String,
    pub(crate) disctotal: String,
    /// Any more, by the names of Vorbis comments.
    pub(crate) more: Vec<(String, String)>,
    /// Picture and its media type.
    pub(crate) art: Option<(Vec<u8>, &'static str)>,
    /// Makes the bytes of two files with equal tags different.
    pub(crate) salt: u64,
    /// Bytes of audio.
    pub(crate) audio_len: usize,
}

impl Track {
    /// A track of an album of 2020.
    pub(crate) fn new(artist: &str, album: &str, number: u32, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            artist: artist.to_owned(),
            album: album.to_owned(),
            date: "2020".to_owned(),
            number: number.to_string(),
            audio_len: 1500,
            ..Self::default()
        }
    }

    /// The same with other audio.
    pub(crate) fn salted(mut self, salt: u64) -> Self {
        self.salt = salt;
        self
    }

    /// The same with a picture.
    pub(crate) fn with_art(mut self, picture: Vec<u8>, media_type: &'static str) -> Self {
        self.art = Some((picture, media_type));
        self
    }

    /// Name and value of each comment that is present.
    fn comments(&self) -> Vec<(&str, &str)> {
        let fields = [
            ("TITLE", &self.title),
            ("ARTIST", &self.artist),
            ("ALBUMARTIST", &self.albumartist),
            ("ALBUM", &self.album),
            ("DATE", &self.date),
            ("TRACKNUMBER", &self.number),
            ("DISCNUMBER", &self.disc),
            ("DISCTOTAL", &self.disctotal),
        ];
        let more = self.more.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let fields = fields.into_iter().map(|(key, value)| (key, value.as_str()));
        fields.chain(more).filter(|(_, value)| !value.is_empty()).collect()
    }

    fn audio(&self) -> Vec<u8> {
        super::random::Random::new(self.salt).bytes(self.audio_len)
    }

    /// A FLAC file.
    pub(crate) fn flac(&self) -> Vec<u8> {
        let mut blocks = vec![(0, stream_info()), (4, vorbis_comment(&self.comments()))];
        if let Some((picture, media_type)) = &self.art {
            blocks.push((6, flac_picture(picture, media_type)));
        }
        let mut file = b"fLaC".to_vec();
        let last = blocks.len() - 1;
        for (index, (kind, body)) in blocks.into_iter().enumerate() {
            file.push(kind | if index == last { 0x80 } else { 0 });
            file.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
            file.extend_from_slice(&body);
        }
        file.extend_from_slice(&[0xff, 0xf8, 0xc9, 0x18]); // how a frame begins
        file.extend_from_slice(&self.audio());
        file
    }

    /// An MP3 file with an ID3v2.4 tag.
    pub(crate) fn mp3(&self) -> Vec<u8> {
        let mut file = id3v2(&self.comments(), self.art.as_ref());
        let mut frame = vec![0; MP3_FRAME_LEN];
        frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        // The last bytes of a silent frame are not looked at: the salt goes there.
        frame[MP3_FRAME_LEN - 8..].copy_from_slice(&(self.salt & 0x7f7f_7f7f_7f7f_7f7f).to_le_bytes());
        for _ in 0..=self.audio_len / MP3_FRAME_LEN {
            file.extend_from_slice(&frame);
        }
        file
    }
}

/// Bytes of an MPEG 1 layer III frame of 128 kbit/s at 44.1 kHz without padding.
const MP3_FRAME_LEN: usize = 417;

/// Length-prefixed bytes, little-endian as Vorbis comments have it.
fn push_le(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn push_be(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// 44.1 kHz, stereo, 16 bit, one second.
fn stream_info() -> Vec<u8> {
    let mut info = vec![0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let (rate, channels, bits, samples) = (44_100_u64, 2_u64, 16_u64, 44_100_u64);
    let packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | samples;
    info.extend_from_slice(&packed.to_be_bytes());
    info.extend_from_slice(&[0; 16]); // no MD5 of the audio
    info
}

fn vorbis_comment(comments: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    push_le(&mut body, b"musicfs tests");
    body.extend_from_slice(&(comments.len() as u32).to_le_bytes());
    for (key, value) in comments {
        push_le(&mut body, format!("{key}={value}").as_bytes());
    }
    body
}

/// A picture block: front cover, its type, no description, no dimensions.
pub(crate) fn flac_picture(picture: &[u8], media_type: &str) -> Vec<u8> {
    let mut body = 3_u32.to_be_bytes().to_vec();
    push_be(&mut body, media_type.as_bytes());
    push_be(&mut body, b"");
    body.extend_from_slice(&[0; 16]);
    push_be(&mut body, picture);
    body
}

fn syncsafe(len: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (len >> shift & 0x7f) as u8)
}

/// An ID3v2.4 tag.
pub(crate) fn id3v2(comments: &[(&str, &str)], art: Option<&(Vec<u8>, &'static str)>) -> Vec<u8> {
    let frame_of = |key: &str| match key {
        "TITLE" => Some("TIT2"),
        "ARTIST" => Some("TPE1"),
        "ALBUMARTIST" => Some("TPE2"),
        "ALBUM" => Some("TALB"),
        "DATE" => Some("TDRC"),
        "TRACKNUMBER" => Some("TRCK"),
        "DISCNUMBER" => Some("TPOS"),
        _ => None,
    };
    let mut body = Vec::new();
    let mut push_frame = |id: &str, content: &[u8]| {
        body.extend_from_slice(id.as_bytes());
        body.extend_from_slice(&syncsafe(content.len()));
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(content);
    };
    for (key, value) in comments {
        if let Some(id) = frame_of(key) {
            push_frame(id, &[b"\x03", value.as_bytes()].concat());
        }
    }
    if let Some((picture, media_type)) = art {
        push_frame("APIC", &[b"\x00", media_type.as_bytes(), b"\x00\x03\x00", picture].concat());
    }
    [b"ID3\x04\x00\x00".as_slice(), &syncsafe(body.len()), &body].concat()
}

/// Bytes that are taken for a JPEG.
pub(crate) fn jpeg(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];
    bytes.extend(super::random::Random::new(seed).bytes(len));
    bytes
}

/// Bytes that are taken for a PNG.
pub(crate) fn png(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0".to_vec();
    bytes.extend(super::random::Random::new(seed).bytes(len));
    bytes
}
