//! A result as a Markdown table or as JSON, and the arithmetic of medians.

use serde_json::{Map, Value, json};

/// One figure of a row.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    /// Digits behind the point in Markdown.
    precision: usize,
    unit: &'static str,
}

impl Figure {
    /// Returns the figure `name` with its unit, shown with so many digits behind the point.
    pub(crate) fn new(
        name: impl Into<String>,
        value: f64,
        precision: usize,
        unit: &'static str,
    ) -> Self {
        Self { name: name.into(), value, precision, unit }
    }
}

/// A table: rows of the same figures, each row with a name.
#[derive(Debug)]
pub(crate) struct Report {
    /// What was measured, with the numbers that matter.
    title: String,
    rows: Vec<(String, Vec<Figure>)>,
}

impl Report {
    /// Returns an empty table under `title`.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, name: impl Into<String>, figures: Vec<Figure>) {
        self.rows.push((name.into(), figures));
    }

    /// Returns the table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        let Some((_, first)) = self.rows.first() else { return text };
        text.push_str("| |");
        first.iter().for_each(|figure| text.push_str(&format!(" {} |", figure.name)));
        text.push_str("\n|---|");
        first.iter().for_each(|_| text.push_str("---:|"));
        for (name, figures) in &self.rows {
            text.push_str(&format!("\n| {name} |"));
            for Figure { value, precision, unit, .. } in figures {
                text.push_str(&format!(" {value:.precision$}{unit} |"));
            }
        }
        text.push('\n');
        text
    }

    /// Returns the table as one JSON object.
    pub(crate) fn json(&self) -> String {
        let rows = self.rows.iter().map(|(name, figures)| {
            let mut row: Map<_, _> =
                figures.iter().map(|figure| (figure.name.clone(), json!(figure.value))).collect();
            row.insert("name".to_owned(), Value::from(name.as_str()));
            Value::Object(row)
        });
        let object = json!({ "title": self.title, "rows": rows.collect::<Vec<_>>() });
        format!("{object}\n")
    }
}

/// Returns the median; of an even number of values, the lower of the two in the middle. None: NaN.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_value_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0, 3.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_report_reads_as_a_table_and_as_json() {
        let mut report = Report::new("Time");
        report.add("open", vec![Figure::new("median", 1.25, 1, " s")]);
        assert_eq!(report.markdown(), "Time\n\n| | median |\n|---|---:|\n| open | 1.2 s |\n");
        let json = "{\"rows\":[{\"median\":1.25,\"name\":\"open\"}],\"title\":\"Time\"}\n";
        assert_eq!(report.json(), json);
    }
}
