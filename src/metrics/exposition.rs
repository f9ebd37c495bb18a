//! The Prometheus text format, version 0.0.4. Pure.

use std::fmt::Write as _;

use crate::manager::Histogram;

/// A text under construction.
#[derive(Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// `# HELP` and `# TYPE`; samples of that name follow.
    pub(super) fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        self.labels(labels);
        self.line(format_args!(" {value}\n"));
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.sample(name, &[], value as f64);
    }

    /// A gauge with its samples.
    pub(super) fn gauge(&mut self, name: &str, help: &str, samples: &[(&[(&str, &str)], f64)]) {
        self.head(name, "gauge", help);
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    /// The samples of one histogram; the head comes before.
    pub(super) fn histogram(&mut self, name: &str, label: (&str, &str), histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".into() };
            self.sample(&bucket, &[label, ("le", &bound)], count as f64);
        }
        self.sample(&format!("{name}_sum"), &[label], histogram.sum_s());
        self.sample(&format!("{name}_count"), &[label], histogram.count() as f64);
    }

    /// The samples of a histogram without labels, given how many values are within each bound, `None` being all of them; the head comes before.
    pub(super) fn buckets(&mut self, name: &str, buckets: impl Iterator<Item = (Option<f64>, u64)>, sum: f64) {
        let mut all = 0;
        for (bound, count) in buckets {
            let bound = bound.map_or_else(|| "+Inf".into(), |bound| bound.to_string());
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], count as f64);
            all = count;
        }
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], all as f64);
    }

    /// What was written.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        for (idx, (name, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.line(format_args!("{}{name}=\"{value}\"", if idx == 0 { "{" } else { "," }));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    fn line(&mut self, args: std::fmt::Arguments<'_>) {
        // A string takes whatever is written to it.
        self.text.write_fmt(args).expect("writing to a string does not fail");
    }
}
