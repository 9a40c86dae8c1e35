//! A fatal signal or an LLVM fatal error -> a message that names the step, a reproducer, exit code 1.
//!
//! The handler runs in a thread whose state cannot be trusted: it only copies bytes that were ready before the crash, and ends the process.

use std::{
    cell::Cell,
    ffi::{CStr, CString, c_char, c_int},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};

/// Longer names of passes are cut.
const PASS_BYTES: usize = 96;

const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGSEGV, "segmentation fault"),
    (libc::SIGBUS, "bus error"),
    (libc::SIGILL, "illegal instruction"),
    (libc::SIGFPE, "arithmetic fault"),
    (libc::SIGABRT, "abort"),
];

/// What a step is and what it works on.
pub struct Record {
    step: String,
    path: CString,
    text: Vec<u8>,
    pass: [AtomicU8; PASS_BYTES],
    pass_bytes: AtomicUsize,
}

impl Record {
    pub fn new(step: &str, pass: &str, path: &Path, header: &str, text: String) -> Self {
        let record = Self {
            step: step.into(),
            // A path with a zero byte cannot be opened, nor can an empty one.
            path: CString::new(path.as_os_str().as_bytes()).unwrap_or_default(),
            text: [header.as_bytes(), text.as_bytes()].concat(),
            pass: [const { AtomicU8::new(0) }; PASS_BYTES],
            pass_bytes: AtomicUsize::new(0),
        };
        record.set_pass(pass);
        record
    }

    pub fn reproducer(&self) -> &[u8] {
        &self.text
    }

    fn set_pass(&self, name: &str) {
        let bytes = name.len().min(PASS_BYTES);
        for (to, from) in self.pass.iter().zip(name.as_bytes()) {
            to.store(*from, Ordering::Relaxed);
        }
        self.pass_bytes.store(bytes, Ordering::Release);
    }
}

thread_local! {
    static CURRENT: Cell<*const Record> = const { Cell::new(ptr::null()) };
}

/// While it lives, a crash of this thread is reported with `record`.
pub struct Watched<'a>(&'a Record, *const Record);

pub fn watch(record: &Record) -> Watched<'_> {
    Watched(record, CURRENT.replace(record))
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        debug_assert!(ptr::eq(CURRENT.get(), self.0));
        CURRENT.set(self.1);
    }
}

/// Notes the pass that this thread runs from now on.
pub fn enter_pass(name: &str) {
    // SAFETY: the record is borrowed by the `Watched` of this thread.
    if let Some(record) = unsafe { CURRENT.get().as_ref() } {
        record.set_pass(name);
    }
}

/// What this thread is doing, for messages of panics.
fn current() -> Option<String> {
    // SAFETY: as above.
    let record = unsafe { CURRENT.get().as_ref() }?;
    let bytes = record.pass_bytes.load(Ordering::Acquire);
    let pass: Vec<u8> = record.pass[..bytes].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
    Some(format!("{}, in `{}`", record.step, String::from_utf8_lossy(&pass)))
}

/// Reports signals, LLVM's fatal errors and panics of this process from now on.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        let during = current().map_or_else(String::new, |step| format!(" during {step}"));
        eprintln!("internal error{during}: {info}");
    }));
    // SAFETY: the handlers follow the rules of signal handlers; std has made alternate stacks for its threads.
    unsafe {
        llvm_sys::error_handling::LLVMInstallFatalErrorHandler(Some(on_fatal_error));
        for (signal, _) in SIGNALS {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

extern "C" fn on_fatal_error(reason: *const c_char) {
    // SAFETY: LLVM passes a C string.
    let reason = unsafe { CStr::from_ptr(reason) };
    report(&[b"fatal error of LLVM: ", reason.to_bytes()])
}

extern "C" fn on_signal(signal: c_int) {
    let name = SIGNALS.iter().find(|(number, _)| *number == signal).map_or("signal", |(_, name)| name);
    report(&[name.as_bytes()])
}

/// Only calls what a signal handler may call, and allocates nothing.
fn report(what: &[&[u8]]) -> ! {
    static FIRST: AtomicBool = AtomicBool::new(true);
    if !FIRST.swap(false, Ordering::SeqCst) {
        // The thread that came first ends the process. If it is this one, crashing again while it reports, nothing is left to say.
        // SAFETY: ends the thread's progress, or the process.
        unsafe {
            libc::sleep(2);
            libc::_exit(1)
        }
    }
    say(b"error: the compiler crashed (");
    what.iter().for_each(|part| say(part));
    say(b")");
    // SAFETY: the record is borrowed by the `Watched` of this thread.
    if let Some(record) = unsafe { CURRENT.get().as_ref() } {
        say(b" in `");
        let bytes = record.pass_bytes.load(Ordering::Acquire);
        for byte in &record.pass[..bytes] {
            say(&[byte.load(Ordering::Relaxed)]);
        }
        say(b"` at ");
        say(record.step.as_bytes());
        // SAFETY: a C string and a file that nobody else uses.
        let file = unsafe { libc::open(record.path.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, 0o600) };
        if file >= 0 && write_all(file, &record.text) {
            say(b"; reproducer: ");
            say(record.path.as_bytes());
        }
    }
    say(b"; this is a fault of the compiler, please report it\n");
    // SAFETY: ends the process without running anything else in it.
    unsafe { libc::_exit(1) }
}

fn say(bytes: &[u8]) {
    write_all(libc::STDERR_FILENO, bytes);
}

fn write_all(file: c_int, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: the range is live.
        match unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) } {
            written if written > 0 => bytes = &bytes[written as usize..],
            _ => return false,
        }
    }
    true
}
