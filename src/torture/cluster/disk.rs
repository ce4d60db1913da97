//! A disk of a member's own, which can be filled without harm to anybody else.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

/// The file that fills it.
const BALLAST: &str = "ballast";

/// A file system in memory, mounted over a member's data; unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of 512 MiB. `None` where that is not allowed.
    pub fn mount(at: &Path) -> Option<SmallDisk> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| SmallDisk(at.to_owned()))
    }

    /// Bytes that are free.
    fn free(&self) -> io::Result<u64> {
        let stat = statvfs(&self.0)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Takes all space but about `left` bytes.
    pub fn fill(&self, left: u64) -> io::Result<()> {
        let ballast = fs::File::create(self.0.join(BALLAST))?;
        let take = self.free()?.saturating_sub(left).max(1);
        match fallocate(&ballast, FallocateFlags::empty(), 0, take) {
            // The member was quicker: then the disk is full too.
            Err(Errno::NOSPC) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the space back.
    pub fn relieve(&self) -> io::Result<()> {
        fs::remove_file(self.0.join(BALLAST))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
