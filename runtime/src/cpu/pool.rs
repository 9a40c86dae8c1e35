//! Threads that share the tiles of one dispatch. The calling thread takes part; workers start when first needed, spin briefly between
//! dispatches and then sleep. A dispatch never waits for a sleeper to wake: who arrives late finds no tiles left and is not waited for.
//! Every thread has a share of the grid, the same one in every dispatch, so that it finds in its own cache what it wrote before; who is done
//! with their own takes from others. Waking costs microseconds, so grids that are known or found to take less than that are left to the caller and to whoever still spins.

use super::fpu::FloatEnvironment;
use std::{
    cell::UnsafeCell,
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

/// How long an idle worker spins before it sleeps: longer than the gaps between the dispatches of a run.
const SPIN: Duration = Duration::from_micros(50);
/// Work worth waking sleepers or starting threads for, in nanoseconds.
const WORTH_WAKING: f32 = 20_000.0;
/// Pieces that a share is taken in: enough to even out, few enough for kernels to share packed panels.
const PIECES: u64 = 4;
/// Bit of `state` that says that workers may join the current job; the bits below count who did, the bits above number the job.
const OPEN: u64 = 1 << 16;
const JOB: u64 = 1 << 17;
const JOINED: u64 = OPEN - 1;
/// Most threads of a pool, so that `JOINED` cannot overflow.
const MAX_THREADS: usize = 1 << 12;

/// What is known about a dispatch from earlier runs: nanoseconds per tile on one thread; 0 is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost(f32);

/// Runs `begin..end` as worker number `.2`; false stops the job early.
type Task<'a> = dyn Fn(u32, u32, usize) -> bool + Sync + 'a;

/// A pool of threads; share one between sessions (`Pool::global`) or give a session its own.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    /// Held while a job runs; also starts the workers.
    workers: Mutex<Vec<JoinHandle<()>>>,
}

#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    state: Line<AtomicU64>,
    /// Of each thread's share: number of the job (upper half), and tiles taken in that job.
    taken: Vec<Line<AtomicU64>>,
    /// Whether a task of the current job has failed.
    failed: AtomicBool,
    job: UnsafeCell<Option<Job>>,
    /// One per worker.
    sleepers: Vec<Sleeper>,
    stop: AtomicBool,
}

struct Sleeper {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const Task<'static>,
    /// Tells what threads took in this job from what they took in others.
    number: u32,
    grid: u64,
    /// Tiles of the share of one thread, and of a piece of it.
    share: u64,
    piece: u64,
}

// SAFETY: `job` is written only while no worker can join (not OPEN, none JOINED) and read only after joining; its task is Sync.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used only while `Pool::run`, which owns the task, waits.
unsafe impl Send for Shared {}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} threads)", self.threads)
    }
}

/// Number of threads this process may use.
pub fn available_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl Pool {
    /// A pool of `threads` threads, the caller's included. Starts none yet.
    pub fn new(threads: usize) -> Arc<Self> {
        let threads = threads.clamp(1, MAX_THREADS);
        let sleepers = (1..threads).map(|_| Sleeper { asleep: AtomicBool::new(false), thread: OnceLock::new() }).collect();
        let shared = Shared {
            state: Line(AtomicU64::new(0)),
            taken: (0..threads).map(|_| Line(AtomicU64::new(0))).collect(),
            failed: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            sleepers,
            stop: AtomicBool::new(false),
        };
        Arc::new(Self { shared: Arc::new(shared), threads, workers: Mutex::new(Vec::new()) })
    }

    /// The pool of the process: one thread per CPU that the process may use.
    pub fn global() -> Arc<Self> {
        static GLOBAL: OnceLock<Arc<Pool>> = OnceLock::new();
        GLOBAL.get_or_init(|| Self::new(available_threads())).clone()
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Starts the workers that are missing, instead of when a dispatch is first worth it, and waits until they are ready. Where the system
    /// refuses more threads, the pool makes do with those it has.
    pub fn start(&self) {
        if let Ok(mut workers) = self.workers.lock() {
            self.start_workers(&mut workers);
            while self.shared.sleepers[..workers.len()].iter().any(|sleeper| sleeper.thread.get().is_none()) {
                thread::yield_now();
            }
        }
    }

    fn start_workers(&self, workers: &mut Vec<JoinHandle<()>>) {
        while workers.len() + 1 < self.threads {
            let (shared, index) = (self.shared.clone(), workers.len());
            match thread::Builder::new().name(format!("winze-{}", index + 1)).stack_size(1 << 20).spawn(move || work(&shared, index)) {
                Ok(handle) => workers.push(handle),
                Err(_) => return,
            }
        }
    }

    /// Calls `task` for disjoint ranges that cover `0..grid`, from several threads at once, and returns when all are done. If another
    /// session uses the pool at this moment, the calling thread does everything itself.
    pub fn run(&self, grid: u32, cost: &mut Cost, task: &Task<'_>) {
        if self.threads == 1 || grid == 1 {
            task(0, grid, 0);
            return;
        }
        let Ok(mut workers) = self.workers.try_lock() else {
            task(0, grid, 0);
            return;
        };
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; workers use the task between joining and leaving, and `run` waits for those who joined.
        let task: *const Task<'static> = unsafe { std::mem::transmute(std::ptr::from_ref(task)) };
        let grid = u64::from(grid);
        let (share, last) = (grid.div_ceil(self.threads as u64), shared.state.0.load(Ordering::Relaxed) / JOB);
        let job = Job { task, number: (last + 1) as u32, grid, share, piece: share.div_ceil(PIECES) };
        // SAFETY: we hold the lock, the last job is closed and everyone has left it.
        unsafe { *shared.job.get() = Some(job) };
        shared.failed.store(false, Ordering::Relaxed);
        shared.state.0.fetch_add(JOB + OPEN, Ordering::SeqCst);
        let start = Instant::now();
        let mut tiles = 0;
        if cost.0 == 0.0 {
            // Unknown: one piece tells how long the rest would take alone.
            tiles += shared.take_piece(&job, 0);
            cost.0 = per_tile(start, tiles);
        }
        if cost.0 * (grid - tiles) as f32 > WORTH_WAKING {
            self.wake(&mut workers, (grid - tiles).div_ceil(job.piece) - u64::from(tiles == 0));
        }
        loop {
            match shared.take_piece(&job, 0) {
                0 => break,
                more => tiles += more,
            }
        }
        if tiles > 0 {
            cost.0 = per_tile(start, tiles);
        }
        shared.state.0.fetch_sub(OPEN, Ordering::SeqCst);
        let mut spins = 0u32;
        while shared.state.0.load(Ordering::Acquire) & JOINED != 0 {
            // Someone still computes. Without a core to run on they need ours.
            spins += 1;
            if spins.is_multiple_of(1 << 10) { thread::yield_now() } else { std::hint::spin_loop() }
        }
    }

    /// Sees to it that up to `wanted` workers are awake.
    fn wake(&self, workers: &mut Vec<JoinHandle<()>>, mut wanted: u64) {
        self.start_workers(workers);
        for sleeper in &self.shared.sleepers {
            if wanted == 0 {
                break;
            }
            wanted -= 1;
            if sleeper.asleep.load(Ordering::SeqCst)
                && sleeper.asleep.swap(false, Ordering::SeqCst)
                && let Some(thread) = sleeper.thread.get()
            {
                thread.unpark();
            }
        }
    }
}

/// Never 0, which means unknown.
fn per_tile(start: Instant, tiles: u64) -> f32 {
    (start.elapsed().as_nanos() as f32 / tiles.max(1) as f32).max(0.01)
}

impl Shared {
    /// Computes one piece of an open or joined job, of the share of `worker` while it lasts; the number of tiles, 0 if none are left.
    fn take_piece(&self, job: &Job, worker: usize) -> u64 {
        let threads = self.taken.len();
        let Some((begin, end)) = (worker..worker + threads).find_map(|owner| self.claim(job, owner % threads)) else { return 0 };
        // SAFETY: the job is open or we joined it, so `run` keeps the task alive.
        if unsafe { !(*job.task)(begin as u32, end as u32, worker) } {
            self.failed.store(true, Ordering::Relaxed);
        }
        end - begin
    }

    /// The next piece of the share of thread `owner`.
    fn claim(&self, job: &Job, owner: usize) -> Option<(u64, u64)> {
        let first = owner as u64 * job.share;
        let size = job.share.min(job.grid.saturating_sub(first));
        let taken = &self.taken[owner].0;
        let mut seen = taken.load(Ordering::Relaxed);
        while !self.failed.load(Ordering::Relaxed) {
            let begin = if (seen >> 32) as u32 == job.number { seen & u64::from(u32::MAX) } else { 0 };
            if begin == size {
                return None;
            }
            let end = (begin + job.piece).min(size);
            match taken.compare_exchange_weak(seen, u64::from(job.number) << 32 | end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some((first + begin, first + end)),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Joins the current job if it is open and not number `done`; leaves when its tiles are taken. Returns its number.
    fn join(&self, worker: usize, done: u64) -> Option<u64> {
        let mut state = self.state.0.load(Ordering::SeqCst);
        loop {
            let number = state / JOB;
            if state & OPEN == 0 || number == done {
                return None;
            }
            match self.state.0.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    // SAFETY: we joined while the job was open, so it stays until we leave.
                    if let Some(job) = unsafe { *self.job.get() } {
                        while self.take_piece(&job, worker) > 0 {}
                    }
                    self.state.0.fetch_sub(1, Ordering::Release);
                    return Some(number);
                }
                Err(now) => state = now,
            }
        }
    }
}

fn work(shared: &Shared, index: usize) {
    let _environment = FloatEnvironment::enter();
    let sleeper = &shared.sleepers[index];
    let _ = sleeper.thread.set(thread::current());
    let mut done = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if let Some(number) = shared.join(index + 1, done) {
            done = number;
            continue;
        }
        if spin(shared, done) {
            continue;
        }
        sleeper.asleep.store(true, Ordering::SeqCst);
        // A job published before the line above may have seen us awake: look once more before sleeping.
        while sleeper.asleep.load(Ordering::SeqCst) && !shared.stop.load(Ordering::SeqCst) {
            if shared.is_joinable(done) {
                sleeper.asleep.store(false, Ordering::SeqCst);
                break;
            }
            thread::park();
        }
    }
}

/// Waits a little for a job; false if none came.
fn spin(shared: &Shared, done: u64) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if shared.is_joinable(done) {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}

impl Shared {
    fn is_joinable(&self, done: u64) -> bool {
        let state = self.state.0.load(Ordering::SeqCst);
        state & OPEN != 0 && state / JOB != done
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let workers = self.workers.get_mut().map(std::mem::take).unwrap_or_default();
        for worker in workers {
            worker.thread().unpark();
            // A worker runs only kernels, which do not panic.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_tile_is_computed_exactly_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for grid in [1u32, 2, 3, 7, 64, 1000] {
                for _ in 0..50 {
                    let counts: Vec<AtomicU32> = (0..grid).map(|_| AtomicU32::new(0)).collect();
                    pool.run(grid, &mut Cost::default(), &|begin, end, worker| {
                        assert!(worker < threads);
                        (begin..end).for_each(|tile| {
                            counts[tile as usize].fetch_add(1, Ordering::Relaxed);
                        });
                        true
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, grid {grid}");
                }
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_and_two_callers_share() {
        let pool = Pool::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..30 {
                        let sum = AtomicU64::new(0);
                        pool.run(100, &mut Cost::default(), &|begin, end, _| {
                            sum.fetch_add((begin..end).map(u64::from).sum(), Ordering::Relaxed);
                            true
                        });
                        assert_eq!(sum.load(Ordering::Relaxed), 4950);
                        thread::sleep(Duration::from_micros(300));
                    }
                });
            }
        });
    }

    #[test]
    fn a_failing_task_stops_the_job() {
        let pool = Pool::new(2);
        let ran = AtomicU32::new(0);
        pool.run(1 << 30, &mut Cost::default(), &|begin, _, _| {
            ran.fetch_add(1, Ordering::Relaxed);
            begin > 0
        });
        assert!(ran.load(Ordering::Relaxed) < 9);
    }

    #[test]
    fn asleep_or_not_no_job_is_lost() {
        let pool = Pool::new(2);
        let shared = &pool.shared;
        pool.start();
        for round in 0..200 {
            let workers = AtomicU32::new(0);
            // The caller's pieces wait until the worker has taken one (or a long time has passed).
            let start = Instant::now();
            pool.run(8, &mut Cost(1e9), &|_, _, worker| {
                workers.fetch_or(1 << worker, Ordering::Relaxed);
                while worker == 0 && workers.load(Ordering::Relaxed) & 2 == 0 && start.elapsed() < Duration::from_secs(5) {
                    thread::yield_now();
                }
                true
            });
            assert_eq!(workers.load(Ordering::Relaxed) & 2, 2, "round {round}");
            assert_eq!(shared.state.0.load(Ordering::Relaxed) & (JOINED | OPEN), 0);
            if round % 10 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}
