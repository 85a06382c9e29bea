//! Filling lines: words of a sentence, or items of a list, never broken inside.

/// Columns that `text` takes. The glyphs used here are one column wide each.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// `text`, cut to `width` columns with an ellipsis if it is longer.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The words of a sentence, a number and its unit kept together.
pub(crate) fn words(sentence: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in sentence.split_whitespace() {
        let unit = ["ns", "µs", "ms", "s", "min", "h", "%"]
            .contains(&word.trim_end_matches(['.', ',', ';', ':', ')']));
        match words.last_mut() {
            Some(number) if unit && number.ends_with(|c: char| c.is_ascii_digit()) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// Fills lines of `width` columns. `separator` stands between items of a line, and not at its end. An item that
/// is wider than a line gets one of its own: breaking a path or a name would make it useless.
pub(crate) fn fill(items: &[String], separator: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if columns(line) + columns(separator) + columns(item) <= width => {
                line.push_str(separator);
                line.push_str(item);
            }
            _ => lines.push(item.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_unit() {
        assert_eq!(words("cut 2 ms before it"), ["cut", "2 ms", "before", "it"]);
        assert_eq!(fill(&words("reset after 3.004 s."), " ", 13), ["reset after", "3.004 s."]);
    }

    #[test]
    fn an_item_wider_than_the_line_stands_alone() {
        assert_eq!(fill(&["a".into(), "bbbbbb".into(), "c".into()], " · ", 5), ["a", "bbbbbb", "c"]);
    }
}
