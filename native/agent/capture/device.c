#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int read_fd(int fd, void *buffer, uint64_t offset, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EIO;
		done += (size_t)got;
	}
	return 0;
}

int device_read(const struct device *device, void *buffer, uint64_t offset, size_t length)
{
	if (device->nbd)
		return nbd_read(device->nbd, buffer, offset, length);
	int result = read_fd(device->direct_fd, buffer, offset, length);

	/* A misaligned buffer or tail is EINVAL with O_DIRECT and nothing else. */
	if (result == -EINVAL && device->direct_fd != device->buffered_fd)
		result = read_fd(device->buffered_fd, buffer, offset, length);
	return result;
}

/* Reads the aligned piece that holds `offset`. */
static int load_piece(struct device *device, uint64_t offset)
{
	uint64_t start = offset / DEVICE_PIECE_BYTES * DEVICE_PIECE_BYTES;
	uint64_t left = device->size_bytes - start;
	size_t length = left < DEVICE_PIECE_BYTES ? (size_t)left : DEVICE_PIECE_BYTES;

	device->piece_offset = UINT64_MAX;
	int result = device_read(device, device->piece, start, length);
	if (result < 0)
		return result;
	device->piece_offset = start;
	device->piece_bytes = length;
	return 0;
}

/* Metadata is read past the page cache: the cache of a whole disk knows nothing of what is written through its
 * partitions, and may be as old as the last boot. */
static int source_read(struct source *source, uint64_t offset, void *buffer, size_t length)
{
	struct device *device = (struct device *)(void *)source;

	if (offset > source->size_bytes || length > source->size_bytes - offset)
		return -ERANGE;
	while (length > 0) {
		if (device->piece_offset > offset || offset - device->piece_offset >= device->piece_bytes) {
			int result = load_piece(device, offset);
			if (result < 0)
				return result;
		}
		size_t skip = (size_t)(offset - device->piece_offset);
		size_t part = device->piece_bytes - skip < length ? device->piece_bytes - skip : length;
		memcpy(buffer, device->piece + skip, part);
		buffer = (char *)buffer + part;
		offset += part;
		length -= part;
	}
	return 0;
}

static int measure(struct device *device, const struct stat *status)
{
	int sector = 0;

	device->sector_bytes = 512;
	if (S_ISREG(status->st_mode)) {
		device->size_bytes = (uint64_t)status->st_size;
		return 0;
	}
	if (!S_ISBLK(status->st_mode))
		return -ENOTBLK;
	device->is_block = true;
	device->major = major(status->st_rdev);
	device->minor = minor(status->st_rdev);
	if (ioctl(device->buffered_fd, BLKGETSIZE64, &device->size_bytes) < 0)
		return -errno;
	if (ioctl(device->buffered_fd, BLKSSZGET, &sector) == 0 && sector >= 512 && sector <= 65536)
		device->sector_bytes = (uint32_t)sector;
	return 0;
}

static int open_files(struct device *device, const char *path)
{
	struct stat status;

	device->buffered_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (device->buffered_fd < 0)
		return -errno;
	if (fstat(device->buffered_fd, &status) < 0)
		return -errno;
	int result = measure(device, &status);
	if (result < 0)
		return result;
	device->direct_fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (device->direct_fd < 0)
		device->direct_fd = device->buffered_fd;
	return 0;
}

static bool is_socket(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}

int device_open(struct device *device, const char *path)
{
	int result;

	*device = (struct device){.direct_fd = -1, .buffered_fd = -1, .piece_offset = UINT64_MAX};
	if (snprintf(device->path, sizeof(device->path), "%s", path) >= (int)sizeof(device->path))
		return -ENAMETOOLONG;
	device->sector_bytes = 512;
	if (is_socket(path))
		result = nbd_open(path, &device->nbd, &device->size_bytes);
	else
		result = open_files(device, path);
	if (result < 0)
		goto fail;
	device->piece = aligned_alloc(4096, DEVICE_PIECE_BYTES);
	if (!device->piece) {
		result = -ENOMEM;
		goto fail;
	}
	device->source = (struct source){.read = source_read, .size_bytes = device->size_bytes};
	return 0;
fail:
	device_close(device);
	return result;
}

void device_close(struct device *device)
{
	if (device->direct_fd >= 0 && device->direct_fd != device->buffered_fd)
		close(device->direct_fd);
	if (device->buffered_fd >= 0)
		close(device->buffered_fd);
	device->direct_fd = device->buffered_fd = -1;
	nbd_close(device->nbd);
	device->nbd = NULL;
	free(device->piece);
	device->piece = NULL;
}

uint64_t device_hole_end(const struct device *device, uint64_t offset)
{
	return device->nbd ? nbd_hole_end(device->nbd, offset) : offset;
}

bool device_vanished(const struct device *device)
{
	uint64_t size = 0;
	struct stat status;

	if (device->nbd)
		return false;
	if (!device->is_block)
		return fstat(device->buffered_fd, &status) < 0 || (uint64_t)status.st_size < device->size_bytes;
	if (ioctl(device->buffered_fd, BLKGETSIZE64, &size) < 0 || size < device->size_bytes)
		return true;
	return access(device->path, F_OK) < 0;
}
