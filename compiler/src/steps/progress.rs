//! Tracing spans -> a bar on the terminal, a Chrome trace in a file, or lines on stderr. Subscribers are chosen once per process.

use crate::stage::Stage;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::IsTerminal,
    path::Path,
    time::{Duration, Instant},
};
use tracing::{
    Event, Id, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::Attributes,
};
use tracing_chrome::{ChromeLayerBuilder, EventOrSpan, FlushGuard};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

/// What the user wants to see of a compilation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reporting<'a> {
    /// File for a Chrome trace.
    pub trace: Option<&'a Path>,
    /// Each step with its time, on stderr.
    pub verbose: bool,
    pub quiet: bool,
}

/// Ends the reports when dropped.
pub struct Reports {
    _trace: Option<FlushGuard>,
    bar: Option<ProgressBar>,
}

impl Drop for Reports {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Starts reporting.
pub fn report(reporting: Reporting) -> Result<Reports, String> {
    let trace = reporting.trace.map(|path| -> Result<_, String> {
        let file = std::fs::File::create(path).map_err(|e| format!("trace: {}: {e}", path.display()))?;
        let builder = ChromeLayerBuilder::new().writer(file).include_args(true).name_fn(Box::new(|item| match item {
            EventOrSpan::Span(span) => span.extensions().get::<Labels>().map_or_else(|| span.name().to_string(), Labels::title),
            EventOrSpan::Event(event) => event.metadata().name().to_string(),
        }));
        Ok(builder.build())
    });
    let (chrome, guard) = trace.transpose()?.unzip();
    let lines = reporting.verbose.then_some(Lines);
    let wants_bar = !reporting.quiet && !reporting.verbose && std::io::stderr().is_terminal();
    let bar = wants_bar.then(bar);
    let level = if chrome.is_some() {
        LevelFilter::DEBUG
    } else if wants_bar || reporting.verbose {
        LevelFilter::INFO
    } else {
        LevelFilter::OFF
    };
    if level == LevelFilter::OFF {
        return Ok(Reports { _trace: None, bar: None });
    }
    let shown = bar.clone().map(Shown);
    let registry = tracing_subscriber::registry().with(level).with(Labelled).with(chrome).with(lines).with(shown);
    tracing::subscriber::set_global_default(registry).map_err(|e| format!("trace: {e}"))?;
    Ok(Reports { _trace: guard, bar })
}

/// Says how many kernels follow.
pub fn announce_kernels(target: &str, count: usize) {
    tracing::event!(Level::INFO, target_name = target, kernels = count as u64);
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Fields of a span.
struct Labels {
    started: Instant,
    stage: String,
    kernel: String,
    what: String,
    name: String,
    kernels: Option<u64>,
}

impl Default for Labels {
    fn default() -> Self {
        let [stage, kernel, what, name] = Default::default();
        Self { started: Instant::now(), stage, kernel, what, name, kernels: None }
    }
}

impl Labels {
    fn title(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let what = if self.what.is_empty() { String::new() } else { format!(" ({})", self.what) };
        format!("{} {}{what}", self.stage, self.kernel)
    }
}

impl Visit for Labels {
    fn record_str(&mut self, field: &Field, value: &str) {
        let place = match field.name() {
            "stage" => &mut self.stage,
            "kernel" => &mut self.kernel,
            "what" => &mut self.what,
            "name" => &mut self.name,
            _ => return,
        };
        value.clone_into(place);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "kernels" {
            self.kernels = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Keeps the labels with each span, for the layers after it.
struct Labelled;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Labelled {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut labels = Labels::default();
            attributes.record(&mut labels);
            span.extensions_mut().insert(labels);
        }
    }
}

/// A line for each finished step.
struct Lines;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(labels) = span.extensions().get::<Labels>()
            && !labels.stage.is_empty()
        {
            eprintln!("note: {}: {:.1} ms", labels.title(), labels.started.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// Moves the bar: a kernel is done when its last stage is.
struct Shown(ProgressBar);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Shown {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut labels = Labels::default();
        event.record(&mut labels);
        if let Some(kernels) = labels.kernels {
            self.0.set_length(kernels);
            self.0.set_position(0);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(labels) = span.extensions().get::<Labels>()
            && !labels.stage.is_empty()
        {
            self.0.set_message(labels.title());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(span) = context.span(&id)
            && let Some(labels) = span.extensions().get::<Labels>()
            && !labels.what.is_empty()
            && [Stage::Llvm.name(), Stage::Spirv.name()].contains(&labels.stage.as_str())
        {
            self.0.inc(1);
        }
    }
}
