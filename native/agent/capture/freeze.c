#include "freeze.h"
#include "clock.h"
#include "write-count.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* A mounted file system that is frozen or, where that is impossible, watched. */
struct hold {
	const char *mountpoint;
	int fd;
	bool is_frozen;
	dev_t device;
	bool synced, counted;
	uint64_t written_sectors;
};

static struct {
	pthread_mutex_t lock;
	struct hold holds[MAX_FROZEN];
	size_t count;
	pid_t guardian;
	int guardian_pipe;
	uint64_t since_ms;
} frozen = {.lock = PTHREAD_MUTEX_INITIALIZER, .guardian_pipe = -1};

static size_t depth_of(const char *mountpoint)
{
	size_t depth = 0;

	if (strcmp(mountpoint, "/") == 0)
		return 0;
	for (; *mountpoint; mountpoint++)
		depth += *mountpoint == '/';
	return depth;
}

static int deepest_first(const void *left, const void *right)
{
	size_t a = depth_of(*(const char *const *)left), b = depth_of(*(const char *const *)right);

	return a < b ? 1 : a > b ? -1 : 0;
}

/* Runs in the guardian: only system calls on open descriptors, since every file system may be frozen. */
static void guard(int pipe_end, const struct hold *holds, size_t count, int budget_ms)
{
	struct pollfd waiting = {.fd = pipe_end, .events = POLLIN};
	char word;
	int ready;

	while ((ready = poll(&waiting, 1, budget_ms)) < 0 && errno == EINTR)
		;
	/* A byte: the parent has thawed. The end of the pipe: it is gone. Neither: the budget is over. */
	if (ready > 0 && read(pipe_end, &word, 1) == 1)
		_exit(0);
	for (size_t i = count; i > 0; i--)
		ioctl(holds[i - 1].fd, FITHAW, 0);
	_exit(0);
}

/* Returns the guardian's process id, or a negative errno. */
static pid_t start_guardian(uint64_t budget_ms)
{
	int ends[2];
	sigset_t all, before;
	int budget = budget_ms > INT32_MAX ? INT32_MAX : (int)budget_ms;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid_t child = fork();
	if (child == 0) {
		setsid();
		close(ends[1]);
		/* The host must see the end of our output when we die, not when the guardian does. */
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		guard(ends[0], frozen.holds, frozen.count, budget);
	}
	int error = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(ends[0]);
	if (child < 0) {
		close(ends[1]);
		return -error;
	}
	frozen.guardian_pipe = ends[1];
	return child;
}

static void release_descriptors(void)
{
	for (size_t i = 0; i < frozen.count; i++)
		close(frozen.holds[i].fd);
	frozen.count = 0;
}

static void dismiss_guardian(void)
{
	if (frozen.guardian_pipe >= 0) {
		ssize_t written = write(frozen.guardian_pipe, "q", 1);
		(void)written;
		close(frozen.guardian_pipe);
	}
	frozen.guardian_pipe = -1;
	if (frozen.guardian > 0)
		while (waitpid(frozen.guardian, NULL, 0) < 0 && errno == EINTR)
			;
	frozen.guardian = 0;
}

/* What cannot be frozen is made true on disk, and its writes are counted from now on. */
static void watch(struct hold *hold)
{
	struct statfs kind;
	struct stat status;

	/* The kernel knows nothing of what a file system in user space has not written yet. */
	hold->synced = syncfs(hold->fd) == 0 && fstatfs(hold->fd, &kind) == 0 && kind.f_type != FUSE_SUPER_MAGIC;
	hold->counted = fstat(hold->fd, &status) == 0 && write_count(status.st_dev, &hold->written_sectors) == 0;
	hold->device = status.st_dev;
}

static int freeze_or_watch(struct hold *hold)
{
	if (ioctl(hold->fd, FIFREEZE, 0) == 0)
		hold->is_frozen = true;
	else if (errno == EOPNOTSUPP)
		watch(hold);
	else
		return -errno;
	return 0;
}

static void thaw_all(bool *missed)
{
	for (size_t i = frozen.count; i > 0; i--)
		if (frozen.holds[i - 1].is_frozen && ioctl(frozen.holds[i - 1].fd, FITHAW, 0) < 0 && errno == EINVAL)
			*missed = true;
}

/* Only what we froze ourselves may be thawed: another program's freeze fails ours with EBUSY and stays. */
static int freeze_all(size_t *failed)
{
	bool missed;

	for (size_t i = 0; i < frozen.count; i++) {
		int result = freeze_or_watch(&frozen.holds[i]);
		if (result == 0)
			continue;
		*failed = i;
		thaw_all(&missed);
		dismiss_guardian();
		return result;
	}
	return 0;
}

static int open_all(const char *const *sorted, size_t count, size_t *failed)
{
	for (size_t i = 0; i < count; i++) {
		int fd = open(sorted[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0) {
			*failed = i;
			return -errno;
		}
		frozen.holds[frozen.count++] = (struct hold){.mountpoint = sorted[i], .fd = fd};
	}
	return 0;
}

static size_t index_in(const char *const *list, size_t count, const char *wanted)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == wanted)
			return i;
	return 0;
}

int freeze_start(const char *const *mountpoints, size_t count, uint64_t budget_ms, struct freeze_report *report,
		 size_t *failed)
{
	const char *sorted[MAX_FROZEN];
	size_t failed_sorted = 0;
	int result;

	if (count > MAX_FROZEN)
		return -E2BIG;
	memcpy(sorted, mountpoints, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), deepest_first);
	pthread_mutex_lock(&frozen.lock);
	frozen.since_ms = clock_milliseconds();
	result = open_all(sorted, count, &failed_sorted);
	if (result < 0)
		goto fail;
	frozen.guardian = start_guardian(budget_ms);
	if (frozen.guardian < 0) {
		result = (int)frozen.guardian;
		frozen.guardian = 0;
		goto fail;
	}
	result = freeze_all(&failed_sorted);
	if (result < 0)
		goto fail;
	report->milliseconds = clock_milliseconds() - frozen.since_ms;
	report->by_watchdog = false;
	pthread_mutex_unlock(&frozen.lock);
	return 0;
fail:
	*failed = index_in(mountpoints, count, sorted[failed_sorted]);
	release_descriptors();
	pthread_mutex_unlock(&frozen.lock);
	return result;
}

void freeze_end(struct freeze_report *report)
{
	pthread_mutex_lock(&frozen.lock);
	report->by_watchdog = false;
	thaw_all(&report->by_watchdog);
	report->milliseconds = frozen.count ? clock_milliseconds() - frozen.since_ms : 0;
	release_descriptors();
	dismiss_guardian();
	pthread_mutex_unlock(&frozen.lock);
}

bool freeze_holds(const char *mountpoint)
{
	bool held = false;

	pthread_mutex_lock(&frozen.lock);
	for (size_t i = 0; i < frozen.count; i++)
		if (strcmp(frozen.holds[i].mountpoint, mountpoint) == 0)
			held = frozen.holds[i].is_frozen;
	pthread_mutex_unlock(&frozen.lock);
	return held;
}

static bool was_written(const struct hold *hold)
{
	uint64_t sectors;

	return !hold->counted || write_count(hold->device, &sectors) < 0 || sectors != hold->written_sectors;
}

size_t freeze_unfrozen(struct unfrozen *found, size_t room)
{
	size_t count = 0;

	pthread_mutex_lock(&frozen.lock);
	for (size_t i = 0; i < frozen.count && count < room; i++) {
		const struct hold *hold = &frozen.holds[i];
		if (!hold->is_frozen)
			found[count++] = (struct unfrozen){hold->mountpoint, hold->synced, was_written(hold)};
	}
	pthread_mutex_unlock(&frozen.lock);
	return count;
}

int freeze_refresh(const char *mountpoint)
{
	int result = 0;
	int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, FIFREEZE, 0) < 0)
		result = -errno;
	else if (ioctl(fd, FITHAW, 0) < 0)
		result = -errno;
	close(fd);
	return result;
}
