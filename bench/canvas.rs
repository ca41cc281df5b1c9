//! A drawing as text: the few shapes that plots are made of, in colours for light and dark.

use std::fmt::Write as _;

/// An SVG that is being drawn.
pub struct Canvas {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub enum Hold {
    Start,
    Middle,
    End,
}

/// What the points of a line look like, so that colours are not all there is.
#[derive(Clone, Copy)]
pub enum Mark {
    Disc,
    Square,
    Triangle,
    Diamond,
}

impl Canvas {
    /// An empty one. `about` is for who cannot see it.
    pub fn new(width: f64, height: f64, about: &str) -> Self {
        let mut body = String::new();
        let _ = writeln!(
            body,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">",
            escaped(about)
        );
        let _ = writeln!(body, "<style>{STYLE}</style>");
        let _ = writeln!(
            body,
            "<rect class=\"paper\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
            width - 1.0,
            height - 1.0
        );
        Self { width, height, body }
    }

    pub fn width(&self) -> f64 {
        self.width
    }

    pub fn height(&self) -> f64 {
        self.height
    }

    pub fn text(&mut self, class: &str, hold: Hold, (x, y): (f64, f64), text: &str) {
        let anchor = match hold {
            Hold::Start => "start",
            Hold::Middle => "middle",
            Hold::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" \
             text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    pub fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        let _ = writeln!(self.body, "<polyline class=\"{class}\" points=\"{points}\"/>");
    }

    /// A range of values, above and below a point.
    pub fn whisker(&mut self, class: &str, x: f64, (low, high): (f64, f64)) {
        self.line(class, (x, low), (x, high));
        for y in [low, high] {
            self.line(class, (x - 2.5, y), (x + 2.5, y));
        }
    }

    pub fn band(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\"/>"
        );
    }

    pub fn mark(&mut self, class: &str, mark: Mark, (x, y): (f64, f64)) {
        let polygon = |corners: &[(f64, f64)]| {
            let corners: Vec<String> =
                corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
            format!("<polygon class=\"{class}\" points=\"{}\"/>", corners.join(" "))
        };
        let shape = match mark {
            Mark::Disc => {
                format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>")
            }
            Mark::Square => polygon(&[(-3.4, -3.4), (3.4, -3.4), (3.4, 3.4), (-3.4, 3.4)]),
            Mark::Triangle => polygon(&[(0.0, -4.4), (4.4, 3.4), (-4.4, 3.4)]),
            Mark::Diamond => polygon(&[(0.0, -4.6), (4.6, 0.0), (0.0, 4.6), (-4.6, 0.0)]),
        };
        self.body.push_str(&shape);
        self.body.push('\n');
    }

    /// The whole drawing.
    pub fn finish(mut self) -> String {
        self.body.push_str("</svg>\n");
        self.body
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The paper is part of the picture, so that ink and paper always fit, whichever of the two
/// appearances the page around has.
const STYLE: &str = "
text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#424a53}
.title{font-size:17px;font-weight:600;fill:#1f2328}
.head{font-size:13px;font-weight:600;fill:#1f2328}
.small{font-size:11px;fill:#59636e}
.paper{fill:#fff;stroke:#d1d9e0}
.grid{stroke:#e6eaef}
.axis{stroke:#8c959f}
.band{fill:#f3f5f8}
.even{stroke:#8c959f;stroke-dasharray:3 3}
.must{stroke:#1f2328;stroke-width:2}
.aim{stroke:#1f2328;stroke-width:1.4;stroke-dasharray:2 2}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}
.l0{stroke:#d9480f}.l1{stroke:#1864ab}.l2{stroke:#2b8a3e}.l3{stroke:#868e96}
.m0{fill:#d9480f}.m1{fill:#1864ab}.m2{fill:#2b8a3e}.m3{fill:#868e96}
.met{fill:#2b8a3e;stroke:#2b8a3e}.close{fill:#e67700;stroke:#e67700}
.missed{fill:#c92a2a;stroke:#c92a2a}
.free{fill:#868e96;stroke:#868e96}
@media(prefers-color-scheme:dark){
text{fill:#c4ccd4}.title,.head{fill:#f0f6fc}.small{fill:#9198a1}
.paper{fill:#0d1117;stroke:#3d444d}.grid{stroke:#252b33}.axis{stroke:#7d8590}.band{fill:#151b23}
.even{stroke:#7d8590}.must,.aim{stroke:#f0f6fc}
.l0{stroke:#ff922b}.l1{stroke:#4dabf7}.l2{stroke:#51cf66}.l3{stroke:#adb5bd}
.m0{fill:#ff922b}.m1{fill:#4dabf7}.m2{fill:#51cf66}.m3{fill:#adb5bd}
.met{fill:#51cf66;stroke:#51cf66}.close{fill:#fcc419;stroke:#fcc419}
.missed{fill:#ff6b6b;stroke:#ff6b6b}
.free{fill:#adb5bd;stroke:#adb5bd}
}";
