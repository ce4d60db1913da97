//! A page for a browser: figures, and latency over percentiles as a curve. One file, no scripts.

use std::fmt::Write;

use super::{
    recorder::millis,
    report::{Ratio, Report},
};

/// Width of the drawing.
const WIDTH: f64 = 760.0;
/// Height of the drawing.
const HEIGHT: f64 = 320.0;
/// Room for labels: at its left, and below.
const MARGIN: f64 = 65.0;
/// Percentiles are drawn by their distance from 100 %: each step to the right leaves a tenth of the
/// operations.
const NINES: f64 = 5.0;
/// Points of a curve.
const POINTS: u32 = 120;

const STYLE: &str = "body{font:14px system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;\
color:#222}\
table{border-collapse:collapse}td,th{text-align:right;padding:.2em .8em;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left}svg{width:100%;height:auto}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}}";

/// The page of one run, or of a run and the one that it is compared with.
pub fn page(title: &str, runs: &[(&str, &Report)], ratio: Option<&Ratio>) -> String {
    let mut page = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    let title = escaped(title);
    // Writing to a string never fails.
    let _ = write!(page, "<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>");
    page.push_str(&figures(runs, ratio));
    page.push_str("<h2>Latency by percentile</h2>");
    page.push_str(&curves(runs));
    page.push_str("</html>\n");
    page
}

fn figures(runs: &[(&str, &Report)], ratio: Option<&Ratio>) -> String {
    let mut table = String::from(
        "<table><tr><th>run<th>ops/s<th>p50 ms<th>p95<th>p99<th>p99.9<th>max<th>server µs/op\
         <th>client µs/op<th>errors",
    );
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    for (name, run) in runs {
        let errors: u64 = run.errors.values().sum();
        let cells = [run.p50_ms, run.p95_ms, run.p99_ms, run.p999_ms, run.max_ms];
        let cells = cells.into_iter().chain([run.server_cpu_us_per_op, run.client_cpu_us_per_op]);
        let cells: String = cells.map(|cell| format!("<td>{}", number(cell))).collect();
        let name = escaped(name);
        let _ = write!(table, "<tr><td>{name}<td>{:.0}{cells}<td>{errors}", run.ops_per_s);
    }
    if let Some(Ratio { throughput, server_cpu, p50, p99 }) = ratio {
        let [throughput, server_cpu, p50, p99] = [throughput, server_cpu, p50, p99].map(|n| number(*n));
        let _ = write!(
            table,
            "<tr><td>ratio<td>{throughput}<td>{p50}<td><td>{p99}<td><td><td>{server_cpu}<td><td>"
        );
    }
    table + "</table>"
}

fn curves(runs: &[(&str, &Report)]) -> String {
    let max = runs.iter().map(|(_, run)| run.latencies.max()).max().unwrap_or(0);
    let (min, max) = runs.iter().fold((f64::MAX, millis(max).max(0.01)), |(min, max), (_, run)| {
        (min.min(millis(run.latencies.min()).max(0.001)), max)
    });
    let (low, high) = (min.log10().floor(), max.log10().ceil().max(min.log10().floor() + 1.0));
    let height = |ms: f64| HEIGHT - (ms.max(0.001).log10() - low) / (high - low) * HEIGHT;
    let mut svg = format!(
        "<svg viewBox=\"{} -10 {} {}\" font-size=\"12\" fill=\"currentColor\">",
        -MARGIN,
        WIDTH + MARGIN + 36.0,
        HEIGHT + MARGIN
    );
    for nines in 0..=NINES as u32 {
        let (x, digits) = (f64::from(nines) / NINES * WIDTH, nines.saturating_sub(2) as usize);
        let label = format!("{:.digits$}", 100.0 - 100.0 * 0.1f64.powf(f64::from(nines)));
        let _ = write!(
            svg,
            "<path d=\"M{x:.0} 0V{HEIGHT}\" stroke=\"#8884\"/>\
             <text x=\"{x:.0}\" y=\"{}\" text-anchor=\"middle\">{label} %</text>",
            HEIGHT + 18.0
        );
    }
    for power in low as i32..=high as i32 {
        let ms = 10f64.powi(power);
        let y = height(ms);
        let _ = write!(
            svg,
            "<path d=\"M0 {y:.0}H{WIDTH}\" stroke=\"#8884\"/>\
             <text x=\"-6\" y=\"{:.0}\" text-anchor=\"end\">{ms} ms</text>",
            y + 4.0
        );
    }
    for (number, (name, run)) in runs.iter().enumerate() {
        let color = ["#2b6cb0", "#c05621"][number % 2];
        let points: String = points(run).map(|(x, ms)| format!("{x:.1},{:.1} ", height(ms))).collect();
        let _ = write!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>\
             <text x=\"12\" y=\"{}\" fill=\"{color}\">{}</text>",
            16 + 16 * number,
            escaped(name)
        );
    }
    svg + "</svg>"
}

/// Place and latency in milliseconds of a curve's points, as far as there are operations to tell them apart.
fn points(run: &Report) -> impl Iterator<Item = (f64, f64)> {
    let seen = (run.latencies.len() as f64).max(1.0).log10().min(NINES);
    (0..=POINTS).map(move |step| {
        let nines = seen * f64::from(step) / f64::from(POINTS);
        let latency = run.latencies.value_at_quantile(1.0 - 0.1f64.powf(nines));
        (nines / NINES * WIDTH, millis(latency))
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
