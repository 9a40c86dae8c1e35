//! A run allocates nothing for dims inside what was seen or prepared before. Counts every allocation of the process, so this file has one test.

mod fixture;

use fixture::*;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};
use winze_runtime::{
    cpu::pool::Pool,
    device::DeviceChoice,
    session::{Session, SessionOptions},
    tensor::TensorView,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: defers to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn runs_inside_the_bound_allocate_nothing() {
    let mut model = add_scale(symbol("rows", 1, Some(512)), symbol("width", 1, Some(64)), 2.0);
    specialize_rows(&mut model, 7);
    let program = model.artifact().open();
    let data = vec![1f32; 512 * 64];
    for threads in [1, 3] {
        for seen in [true, false] {
            let pool = Pool::new(threads);
            let options = SessionOptions { pool: Some(pool.clone()), ..Default::default() };
            let mut session = Session::new(&program, &DeviceChoice::Cpu, options).unwrap();
            let run = |session: &mut Session, dims: [i64; 2]| {
                let view = TensorView::of(&dims, &data[..(dims[0] * dims[1]) as usize]);
                let outputs = session.run(&[view, view]).unwrap();
                let expected = if dims[0] == 7 { 1400.0 } else { 4.0 };
                assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap().last(), Some(&expected));
            };
            if seen {
                // Threads start when a dispatch is first worth it, or when asked to.
                pool.start();
                run(&mut session, [512, 64]);
            } else {
                session.prepare(0, &[512, 64]).unwrap();
            }
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for dims in [[512, 64], [1, 1], [7, 64], [512, 3], [100, 10], [512, 64]] {
                run(&mut session, dims);
                run(&mut session, dims);
            }
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{threads} threads, seen {seen}");
        }
    }
}
