//! Writes pictures of lines, boxes and text as SVG: a file that stands alone, runs nothing, and is readable on light and on dark
//! pages.

use std::fmt::Write;

/// A picture in the making. Its coordinates are pixels, from the upper left corner.
pub struct Svg {
    width: f64,
    height: f64,
    style: &'static str,
    body: String,
}

/// Which side of a text its place is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// The text begins there.
    Start,
    /// It is in the middle.
    Middle,
    /// The text ends there.
    End,
}

impl Anchor {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

impl Svg {
    /// Nothing yet but a background. `style` is CSS for the classes that shapes have; a rule for `.page` colours the background.
    pub fn new(width: f64, height: f64, style: &'static str) -> Self {
        let mut svg = Self { width, height, style, body: String::new() };
        svg.rect("page", 0.0, 0.0, width, height);
        svg
    }

    /// A box.
    pub fn rect(&mut self, class: &str, x: f64, y: f64, width: f64, height: f64) {
        self.add(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        ));
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A dot.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.add(format_args!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#));
    }

    /// A triangle, from corner to corner.
    pub fn triangle(&mut self, class: &str, [(x1, y1), (x2, y2), (x3, y3)]: [(f64, f64); 3]) {
        self.add(format_args!(
            r#"<polygon class="{class}" points="{x1:.1},{y1:.1} {x2:.1},{y2:.1} {x3:.1},{y3:.1}"/>"#
        ));
    }

    /// A line of text; `y` is the line that letters stand on.
    pub fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let (anchor, text) = (anchor.as_str(), escape(text));
        self.add(format_args!(
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        ));
    }

    /// What is drawn has a title, which browsers show who points at it.
    pub fn titled(&mut self, title: &str, draw: impl FnOnce(&mut Self)) {
        self.add(format_args!("<g><title>{}</title>", escape(title)));
        draw(self);
        self.add(format_args!("</g>"));
    }

    /// The whole file.
    pub fn finish(self) -> String {
        let Self { width, height, style, body } = self;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}">
<style>{style}</style>
{body}</svg>
"#
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// Text that is nothing but text, in an element and in an attribute. What XML has no way to say becomes a space.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Asserts that every element is closed, in the right order.
    pub(crate) fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("an open tag: {tag}"));
            assert!(!text.contains('&') || text.contains(';'), "a bare &: {text}");
            assert!(tag.matches('"').count().is_multiple_of(2), "an open attribute: {tag}");
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed), "closed out of order"),
                None if tag.ends_with('/') => {}
                None => open.extend(tag.split_whitespace().next()),
            }
        }
        assert!(open.is_empty(), "never closed: {open:?}");
    }

    #[test]
    fn a_picture_is_well_formed_whatever_its_text() {
        let mut svg = Svg::new(100.0, 50.0, ".page { fill: white }");
        svg.rect("a", 1.0, 2.0, 3.25, 4.0);
        svg.line("b", (0.0, 1.0), (2.0, 3.0));
        svg.dot("c", (5.0, 6.0), 2.0);
        svg.triangle("d", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]);
        svg.titled("<f>", |svg| svg.dot("f", (5.0, 6.0), 2.0));
        svg.text("e", Anchor::End, (9.0, 10.0), "a < b & \"c\"</text><script>");
        let file = svg.finish();
        assert_well_formed(&file);
        assert!(file.contains(r#"<rect class="a" x="1.0" y="2.0" width="3.2" height="4.0"/>"#), "{file}");
        assert!(file.contains("viewBox=\"0 0 100 50\""));
        assert!(file.contains("a &lt; b &amp; &quot;c&quot;&lt;/text&gt;&lt;script&gt;</text>"), "{file}");
        assert!(!file.contains("<script"));
    }

    #[test]
    fn what_xml_cannot_say_is_a_space() {
        assert_eq!(escape("a\u{0}b\u{1b}[1mc\u{ffff}'"), "a b [1mc &apos;");
    }

    #[test]
    #[should_panic(expected = "closed out of order")]
    fn the_check_of_this_test_finds_what_is_not_well_formed() {
        assert_well_formed("<svg><text></svg></text>");
    }
}
