//! Figures that are kept elsewhere and read at each scrape: nothing is remembered here, so two scrapes at once cannot
//! count anything twice.

use std::collections::HashMap;

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// One figure without labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// A counter or a gauge.
    pub(super) kind: MetricType,
}

struct Figures<R> {
    all: &'static [Figure],
    descs: Vec<Desc>,
    read: R,
}

/// Registers figures. `read` gives their values in the same order; one that is `None`, or missing at the end, is left out.
pub(super) fn register<R>(registry: &Registry, figures: &'static [Figure], read: R)
where
    R: Fn() -> Vec<Option<f64>> + Send + Sync + 'static,
{
    let descs = figures.iter().map(|figure| {
        Desc::new(figure.name.to_owned(), figure.help.to_owned(), Vec::new(), HashMap::new())
            .expect("the name is a well-formed literal")
    });
    let collector = Figures { all: figures, descs: descs.collect(), read };
    registry.register(Box::new(collector)).expect("each metric's name is registered once");
}

impl<R> Collector for Figures<R>
where
    R: Fn() -> Vec<Option<f64>> + Send + Sync,
{
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = (self.read)();
        let known = self.all.iter().zip(values).filter_map(|(figure, value)| Some((figure, value?)));
        known.map(|(figure, value)| family(figure, value)).collect()
    }
}

fn family(figure: &Figure, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    if figure.kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(figure.name.to_owned());
    family.set_help(figure.help.to_owned());
    family.set_field_type(figure.kind);
    family.set_metric(vec![metric]);
    family
}
