//! The compressed forms of indices, and bounded decompression.
//!
//! Pure: from reader to reader. What upstream sends is untrusted, so output is capped by the caller, memory by
//! constants here, and whatever follows the compressed data is an error.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use lz4_flex::frame::FrameDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

/// Most memory that an xz or lzma stream may ask for, in bytes. `xz -9` needs 65 MiB; archives use less.
const XZ_MEMORY: u64 = 128 << 20;

/// Largest zstd window, as a power of two: the same 128 MiB. `zstd --long` makes just that.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Bytes handed on at a time by [`read_pieces`].
const PIECE: usize = 256 << 10;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// The older format of xz's makers, as `lzma` writes it.
    Lzma,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// Every form, cheapest to decompress first (measured: over 1,000 MB/s for LZ4, 880 for zstd, 350, 110, 110, and 30
    /// for bzip2).
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Lz4,
        Self::Zstd,
        Self::Gzip,
        Self::Xz,
        Self::Lzma,
        Self::Bzip2,
    ];

    /// What the form adds to a file's name; nothing for [`Compression::None`].
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Lz4 => ".lz4",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Lzma => ".lzma",
            Self::Bzip2 => ".bz2",
        }
    }

    /// The path of the uncompressed file that `path` is a form of, and how that form is compressed.
    #[must_use]
    pub fn plain_form(path: &str) -> (&str, Self) {
        let mut forms = Self::ALL.into_iter().filter(|form| *form != Self::None);
        forms
            .find_map(|form| Some((path.strip_suffix(form.suffix())?, form)))
            .unwrap_or((path, Self::None))
    }
}

/// Decompressed data is longer than the caller expects. Carried by the [`io::Error`] of the read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decompressed data is longer than the expected {cap} bytes")]
pub struct TooLong {
    /// The cap in bytes.
    pub cap: u64,
}

/// The decompressed form of `reader`, which yields at most `cap` bytes: the size that a Release file lists for the
/// uncompressed index.
///
/// # Errors
/// When a decoder cannot be set up. Reads fail when the data is damaged, ends early, is followed by something else,
/// needs too much memory, or is longer than `cap` (see [`TooLong`]).
pub fn decompress<'a>(compression: Compression, reader: impl BufRead + 'a, cap: u64) -> io::Result<Decompressed<'a>> {
    let inner: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(reader),
        Compression::Zstd => {
            let mut decoder = ZstdDecoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        // A frame's largest block has 4 MiB; the decoder keeps two.
        Compression::Lz4 => Box::new(Lz4Frames(FrameDecoder::new(EndWatch { reader, ended: false }))),
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(reader, stream))
        }
        Compression::Lzma => Box::new(LzmaStreams(Some(lzma_decoder(reader)?))),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(reader)),
    };
    Ok(Decompressed { inner, left: cap, cap })
}

/// Hands the decompressed form of `file`, of at most `cap` bytes, to `each` in pieces, and tells how long it is.
///
/// # Errors
/// What `each` answered, or what `failed` makes of why the file cannot be read or decompressed (see [`decompress`]).
pub fn read_pieces<E>(
    compression: Compression,
    file: impl Read,
    cap: u64,
    failed: impl Fn(io::Error) -> E,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let file = BufReader::with_capacity(PIECE, file);
    let mut text = decompress(compression, file, cap).map_err(&failed)?;
    let (mut buffer, mut size) = (vec![0; PIECE], 0);
    loop {
        let length = text.read(&mut buffer).map_err(&failed)?;
        if length == 0 {
            return Ok(size);
        }
        size += length as u64;
        each(&buffer[..length])?;
    }
}

/// A decompressed file, as [`decompress`] makes it.
pub struct Decompressed<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    cap: u64,
}

impl Read for Decompressed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return match self.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, TooLong { cap: self.cap })),
            };
        }
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

impl fmt::Debug for Decompressed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressed")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

fn lzma_decoder<R: BufRead>(reader: R) -> io::Result<XzDecoder<R>> {
    Ok(XzDecoder::new_stream(reader, Stream::new_lzma_decoder(XZ_MEMORY)?))
}

/// lzma streams, one after the other. The format knows no such thing and its decoder stops after the first, but
/// `apt-ftparchive` writes an empty stream after the one with the index, and apt reads both. Empty only once reading failed.
struct LzmaStreams<R>(Option<XzDecoder<R>>);

impl<R: BufRead> Read for LzmaStreams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() || decoder.get_mut().fill_buf()?.is_empty() {
                return Ok(count);
            }
            let next = self.0.take().map(|ended| lzma_decoder(ended.into_inner()));
            self.0 = next.transpose()?;
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// What ends an LZ4 frame: a block of no length. `apt-ftparchive` ends its one frame twice, which apt reads without complaint.
const LZ4_END_MARK: [u8; 4] = [0; 4];

/// LZ4 frames, one after the other. The library's decoder stops after each, and takes the end of the file for the end of
/// a frame: this tells the two apart by whether the decoder asked for more than there was.
struct Lz4Frames<R: BufRead>(FrameDecoder<EndWatch<R>>);

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.0.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let watch = self.0.get_mut();
            if watch.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match watch.reader.fill_buf()?.first() {
                None => return Ok(0),
                // No frame begins with it.
                Some(0) => return only_an_end_mark(&mut watch.reader).map(|()| 0),
                Some(_) => {}
            }
        }
    }
}

/// Reads on to the end, before which there must be nothing but one [`LZ4_END_MARK`].
fn only_an_end_mark(reader: &mut impl Read) -> io::Result<()> {
    let mut rest = Vec::new();
    reader.take(LZ4_END_MARK.len() as u64 + 1).read_to_end(&mut rest)?;
    if rest == LZ4_END_MARK {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "something follows the compressed data",
    ))
}

/// A reader that remembers whether it was read past its end.
struct EndWatch<R> {
    reader: R,
    ended: bool,
}

impl<R: Read> Read for EndWatch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use super::*;

    fn compress(compression: Compression, data: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => data.to_vec(),
            Compression::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(data, 3).unwrap(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Lzma => {
                let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
                let stream = Stream::new_lzma_encoder(&options).unwrap();
                let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn read(compression: Compression, data: &[u8], cap: u64) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        let reader = BufReader::with_capacity(1000, data);
        decompress(compression, reader, cap)?.read_to_end(&mut output)?;
        Ok(output)
    }

    fn sample() -> Vec<u8> {
        (0..20_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect()
    }

    const COMPRESSED: [Compression; 6] = {
        let [_, lz4, zstd, gzip, xz, lzma, bzip2] = Compression::ALL;
        [lz4, zstd, gzip, xz, lzma, bzip2]
    };

    #[test]
    fn every_form_is_read() {
        let data = sample();
        for compression in Compression::ALL {
            let packed = compress(compression, &data);
            assert_eq!(
                read(compression, &packed, data.len() as u64).unwrap(),
                data,
                "{compression:?}"
            );
            assert_eq!(
                read(compression, &compress(compression, b""), 0).unwrap(),
                b"",
                "{compression:?}"
            );
        }
    }

    #[test]
    fn output_never_exceeds_the_cap() {
        let data = vec![0; 1 << 20];
        for compression in Compression::ALL {
            let packed = compress(compression, &data);
            let mut output = Vec::new();
            let cap = 1000;
            let error = decompress(compression, &packed[..], cap)
                .unwrap()
                .read_to_end(&mut output)
                .unwrap_err();
            let inner = error.get_ref().and_then(|error| error.downcast_ref());
            assert_eq!(inner, Some(&TooLong { cap }), "{compression:?}");
            assert_eq!(output.len(), 1000, "{compression:?}");
        }
    }

    #[test]
    fn damaged_data_is_refused() {
        let data = sample();
        for compression in COMPRESSED {
            let packed = compress(compression, &data);
            let refused = |bytes: &[u8]| read(compression, bytes, 1 << 30).is_err();
            assert!(refused(&packed[..packed.len() - 5]), "truncated {compression:?}");
            assert!(refused(&packed[..3]), "hardly begun {compression:?}");
            assert!(
                refused(&[&packed[..], b"garbage garbage garbage"].concat()),
                "followed {compression:?}"
            );
            let mut flipped = packed.clone();
            flipped[packed.len() / 2] ^= 0x10;
            let read_back = read(compression, &flipped, 1 << 30);
            assert!(read_back.map_or(true, |bytes| bytes != data), "flipped {compression:?}");
        }
    }

    #[test]
    fn concatenated_members_are_one_file() {
        for compression in COMPRESSED {
            let packed = [&b"one"[..], b"", b"two", b""].map(|data| compress(compression, data));
            let packed = packed.concat();
            assert_eq!(read(compression, &packed, 6).unwrap(), b"onetwo", "{compression:?}");
        }
    }

    #[test]
    fn a_frame_of_lz4_may_end_twice_and_no_more() {
        let packed = compress(Compression::Lz4, b"one");
        let followed = |rest: &[u8]| read(Compression::Lz4, &[&packed, rest].concat(), 3);
        assert_eq!(followed(&[0; 4]).unwrap(), b"one");
        for rest in [
            &[0; 3][..],
            &[0; 5],
            &[0; 8],
            &[0, 0, 0, 1],
            &[&[0; 4], &packed[..]].concat(),
        ] {
            assert!(followed(rest).is_err(), "{rest:?}");
        }
    }

    #[test]
    fn an_immodest_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG + 1).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(read(Compression::Zstd, &packed, 1 << 20).is_err());
    }
}
