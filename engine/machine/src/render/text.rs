//! Text without a font at hand: how wide it will be, where it breaks, and how XML spells it.

/// The mark of text that was cut.
const ELLIPSIS: char = '…';

/// Estimates the width of `text` in pixels.
///
/// Source: the advance widths of `DejaVu Sans`, rounded up; it is wider than most fonts that a viewer
/// takes for `sans-serif`, so that what fits here fits there.
pub fn width(text: &str, font_px: f64) -> f64 {
    text.chars().map(advance).sum::<f64>() * font_px
}

fn advance(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '\'' => 0.29,
        ' ' | '.' | ',' | ':' | ';' | '|' | 'I' | '/' | '\\' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '!' | '-' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | ELLIPSIS => 1.0,
        'a'..='z' | '0'..='9' | '$' | '_' | '"' => 0.64,
        'A'..='Z' | '=' | '<' | '>' | '+' => 0.84,
        _ if character.is_ascii() => 0.64,
        // Wide scripts take a whole square; the rest is about as wide as a capital.
        '\u{1100}'.. => 1.1,
        _ => 0.84,
    }
}

/// Breaks `text` into at most `lines_max` lines of at most `width_max` pixels; cut text ends with an ellipsis.
pub fn wrap(text: &str, font_px: f64, width_max: f64, lines_max: usize) -> Vec<String> {
    let fits = |it: &str| width(it, font_px) <= width_max;
    let mut lines: Vec<String> = Vec::new();
    let mut rest: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    while !rest.is_empty() {
        if lines.len() + 1 == lines_max || fits(&rest) {
            lines.push(cut(&rest, font_px, width_max));
            break;
        }
        let at = break_at(&rest, &fits);
        let tail = rest.split_off(at);
        lines.push(rest.trim_end().to_owned());
        tail.trim_start().clone_into(&mut rest);
    }
    lines
}

/// Where the first line ends: after the last space that fits, else after a word's capital, else anywhere.
fn break_at(text: &str, fits: &dyn Fn(&str) -> bool) -> usize {
    let mut last = (0, 0, 0);
    let mut before = ' ';
    for (index, character) in text.char_indices() {
        if 0 < index && !fits(&text[..index]) {
            break;
        }
        if character == ' ' {
            last.0 = index;
        }
        if (before.is_lowercase() && character.is_uppercase())
            || matches!(before, '-' | '_' | '.' | ':')
        {
            last.1 = index;
        }
        last.2 = index;
        before = character;
    }
    let first_character = text.chars().next().map_or(1, char::len_utf8);
    match last {
        (space, _, _) if 0 < space => space,
        (_, word, _) if 0 < word => word,
        (_, _, anywhere) => anywhere.max(first_character),
    }
}

/// Cuts `text` to a width, with an ellipsis in place of what is gone.
pub fn cut(text: &str, font_px: f64, width_max: f64) -> String {
    if width(text, font_px) <= width_max {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken_px = advance(ELLIPSIS) * font_px;
    for character in text.chars() {
        taken_px += advance(character) * font_px;
        if width_max < taken_px {
            break;
        }
        kept.push(character);
    }
    let mut kept = kept.trim_end().to_owned();
    kept.push(ELLIPSIS);
    kept
}

/// Spells `text` for XML; characters that XML has not become a replacement mark.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_cut_text_says_so() {
        let text = "$document.outcome = 'accepted' and $document.output.needsReview = false";
        for lines_max in 1..5 {
            let lines = wrap(text, 10.0, 150.0, lines_max);
            assert!(lines.len() <= lines_max);
            assert!(lines.iter().all(|it| width(it, 10.0) <= 150.0), "{lines:?}");
            let letters = |it: &str| it.replace(' ', "");
            let is_whole = letters(&lines.concat()) == letters(text);
            assert_eq!(is_whole, !lines.concat().ends_with(ELLIPSIS), "{lines:?}");
        }
    }

    #[test]
    fn a_long_name_breaks_at_its_capitals() {
        let lines = wrap("CompareFacesWithTheDocument", 10.0, 100.0, 3);
        assert_eq!(lines, ["CompareFaces", "WithTheDocument"]);
    }

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escape("<a b=\"&\">\u{1}"),
            "&lt;a b=&quot;&amp;&quot;&gt;\u{fffd}"
        );
    }
}
