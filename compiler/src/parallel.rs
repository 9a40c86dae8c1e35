//! Independent work on several threads, each with a context of its own; results in order.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Maps `items` on up to `jobs` threads. `start` makes what a thread works with.
pub fn map_with<T: Sync, S, R: Send>(items: &[T], jobs: usize, start: impl Fn() -> S + Sync, work: impl Fn(&S, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                let state = start();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(&state, item);
                    *slots[index].lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(result);
                }
            });
        }
    });
    slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).expect("every index was handed out once"))
        .collect()
}
