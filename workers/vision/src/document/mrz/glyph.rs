//! One symbol of the zone, with what the reader thought it might have been instead.

/// The filler of the zone.
pub const FILLER: u8 = b'<';

/// The weights that a check digit repeats over what it covers.
///
/// Source: ICAO Doc 9303 part 3, section 4.9.
const CHECK_WEIGHTS: [u32; 3] = [7, 3, 1];

/// One recognised symbol.
#[derive(Clone, PartialEq, Debug)]
pub struct Glyph {
    /// `A`-`Z`, `0`-`9` or `<`.
    pub symbol: u8,
    /// Other symbols the reader gave weight to, with their probability in `[0, 1]`.
    pub rivals: Vec<(u8, f32)>,
}

impl Glyph {
    /// A symbol about which there is no doubt, such as one out of a chip.
    #[must_use]
    pub const fn certain(symbol: u8) -> Self {
        Self {
            symbol,
            rivals: Vec::new(),
        }
    }
}

/// The glyphs of a text that was not read from a picture; blanks are dropped.
///
/// Symbols outside the alphabet of the zone stay, and are refused by the parser.
#[must_use]
pub fn certain_line(text: &str) -> Vec<Glyph> {
    text.bytes()
        .filter(|it| !it.is_ascii_whitespace())
        .map(Glyph::certain)
        .collect()
}

/// The number that a symbol counts for in a check digit, or `None` outside the alphabet.
pub(super) fn weight(symbol: u8) -> Option<u32> {
    match symbol {
        FILLER => Some(0),
        b'0'..=b'9' => Some(u32::from(symbol - b'0')),
        b'A'..=b'Z' => Some(u32::from(symbol - b'A') + 10),
        _ => None,
    }
}

/// The check digit of some symbols, or `None` if one is outside the alphabet.
#[must_use]
pub fn check_digit(symbols: impl IntoIterator<Item = u8>) -> Option<u8> {
    let mut sum = 0;
    for (symbol, factor) in symbols.into_iter().zip(CHECK_WEIGHTS.into_iter().cycle()) {
        sum += weight(symbol)? * factor;
    }
    u8::try_from(sum % 10).ok().map(|it| b'0' + it)
}

/// Whether no check digit can tell two symbols apart: they count the same modulo ten (`8` and `S`, `6` and `G`).
pub(super) fn are_congruent(left: u8, right: u8) -> bool {
    match (weight(left), weight(right)) {
        (Some(left), Some(right)) => left % 10 == right % 10,
        _ => false,
    }
}

/// The letter that a digit is misread for, where only letters may stand.
pub(super) fn as_letter(symbol: u8) -> Option<u8> {
    match symbol {
        b'0' => Some(b'O'),
        b'1' => Some(b'I'),
        b'2' => Some(b'Z'),
        b'5' => Some(b'S'),
        b'6' => Some(b'G'),
        b'8' => Some(b'B'),
        _ => None,
    }
}

/// The digit that a letter is misread for, where only digits may stand.
pub(super) fn as_digit(symbol: u8) -> Option<u8> {
    match symbol {
        b'O' | b'D' | b'Q' | b'U' => Some(b'0'),
        b'I' | b'L' => Some(b'1'),
        b'Z' => Some(b'2'),
        b'S' => Some(b'5'),
        b'G' => Some(b'6'),
        b'B' => Some(b'8'),
        _ => None,
    }
}
