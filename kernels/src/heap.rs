//! The C library's heap: pages of freed memory that it keeps are given back to the system on request.

/// Gives back what was freed. For moments after much was: it walks the whole heap, which takes milliseconds. Does nothing where the C library is not GNU's.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: the function of that name and type in GNU's C library, which may be called by any thread at any time.
        unsafe { malloc_trim(0) };
    }
}
