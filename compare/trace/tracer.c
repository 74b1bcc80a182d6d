/* Trace the CUDA activity of any process with CUPTI, without Nsight Systems.
 *
 * The CUDA driver loads this library where CUDA_INJECTION64_PATH names it. Counts go to
 * $BART_TF_TRACE_FOLDER/trace-PID.tsv: while the process runs, when it ends, and when it aborts.
 *
 * The record types have a number that grows with the version of CUPTI; compare/trace/cupti.py reads it from the header
 * and defines RECORD_KERNEL, RECORD_MEMCPY, RECORD_MEMCPY_PEER and RECORD_MEMSET.
 */

#include <cupti.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "tally.h"

#define BUFFER_BYTES (4 << 20)
#define BUFFERS_AT_ONCE 64
#define WRITE_EVERY_MS 500
#define END_WITHIN_MS 20000
#define POLL_MS 5

static struct tally tally;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t dropped, records;
static atomic_uint buffers, refused;
static atomic_int asked, done, ended_by;
static char path[4096], part[4096];
static char errors[512];
static struct timespec started;
static pid_t process;
static struct sigaction previous_abort, previous_term;

static void check(CUptiResult result, const char *what)
{
	const char *text = "unknown";

	if (CUPTI_SUCCESS == result)
		return;
	cuptiGetResultString(result, &text);
	size_t used = strlen(errors);
	snprintf(errors + used, sizeof(errors) - used, "%s%s: %s (%d)", used ? "; " : "", what, text, (int)result);
}

static const char *copy_name(unsigned kind)
{
	static const char *const names[] = { "unknown", "HtoD", "DtoH", "HtoA", "AtoH", "AtoA",
					     "AtoD",    "DtoA", "DtoD", "HtoH", "PtoP" };

	return names[kind < sizeof(names) / sizeof(*names) ? kind : 0];
}

static void add_call(const CUpti_ActivityAPI *call, CUpti_CallbackDomain domain, const char *kind)
{
	const char *name = NULL;

	if (CUPTI_SUCCESS != cuptiGetCallbackName(domain, call->cbid, &name) || NULL == name)
		name = "unknown";
	tally_add(&tally, kind, name, call->start, call->end, 0, 0);
}

static void add(const CUpti_Activity *record)
{
	switch (record->kind) {
	case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
	case CUPTI_ACTIVITY_KIND_KERNEL: {
		const RECORD_KERNEL *kernel = (const RECORD_KERNEL *)record;
		tally_add(&tally, "kernel", kernel->name ? kernel->name : "unknown", kernel->start, kernel->end, 0, 0);
		break;
	}
	case CUPTI_ACTIVITY_KIND_MEMCPY: {
		const RECORD_MEMCPY *copy = (const RECORD_MEMCPY *)record;
		tally_add(&tally, "memcpy", copy_name(copy->copyKind), copy->start, copy->end, 1, copy->bytes);
		break;
	}
	case CUPTI_ACTIVITY_KIND_MEMCPY2: {
		const RECORD_MEMCPY_PEER *copy = (const RECORD_MEMCPY_PEER *)record;
		tally_add(&tally, "memcpy", copy_name(copy->copyKind), copy->start, copy->end, 1, copy->bytes);
		break;
	}
	case CUPTI_ACTIVITY_KIND_MEMSET: {
		const RECORD_MEMSET *set = (const RECORD_MEMSET *)record;
		tally_add(&tally, "memset", "memset", set->start, set->end, 1, set->bytes);
		break;
	}
	case CUPTI_ACTIVITY_KIND_RUNTIME:
		add_call((const CUpti_ActivityAPI *)record, CUPTI_CB_DOMAIN_RUNTIME_API, "runtime");
		break;
	case CUPTI_ACTIVITY_KIND_DRIVER:
		add_call((const CUpti_ActivityAPI *)record, CUPTI_CB_DOMAIN_DRIVER_API, "driver");
		break;
	default:
		break;
	}
}

static void CUPTIAPI on_request(uint8_t **buffer, size_t *size, size_t *max_records)
{
	void *memory = NULL;

	*buffer = NULL;
	*size = 0;
	*max_records = 0;
	/* Without a buffer CUPTI drops records and counts them. */
	if (atomic_fetch_add(&buffers, 1) < BUFFERS_AT_ONCE && 0 == posix_memalign(&memory, 8, BUFFER_BYTES)) {
		*buffer = memory;
		*size = BUFFER_BYTES;
		return;
	}
	atomic_fetch_sub(&buffers, 1);
	atomic_fetch_add(&refused, 1);
}

static void CUPTIAPI on_complete(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid)
{
	CUpti_Activity *record = NULL;
	size_t lost = 0;

	(void)size;
	if (NULL == buffer)
		return;
	pthread_mutex_lock(&mutex);
	while (valid > 0 && CUPTI_SUCCESS == cuptiActivityGetNextRecord(buffer, valid, &record)) {
		add(record);
		records++;
	}
	if (CUPTI_SUCCESS == cuptiActivityGetNumDroppedRecords(context, stream, &lost))
		dropped += lost;
	pthread_mutex_unlock(&mutex);
	free(buffer);
	atomic_fetch_sub(&buffers, 1);
}

static void write_file(const char *end)
{
	struct timespec now;
	uint32_t version = 0;
	char program[64] = "unknown";
	FILE *name = fopen("/proc/self/comm", "r");

	if (NULL != name) {
		if (1 != fscanf(name, "%63[^\n]", program))
			program[0] = 0;
		fclose(name);
	}
	cuptiGetVersion(&version);
	clock_gettime(CLOCK_MONOTONIC, &now);

	FILE *file = fopen(part, "w");

	if (NULL == file)
		return;
	pthread_mutex_lock(&mutex);
	fprintf(file, "bart-tf-trace\t1\n");
	fprintf(file, "fact\tprogram\t%s\nfact\tpid\t%d\nfact\tend\t%s\n", program, (int)process, end);
	fprintf(file, "fact\tcupti_header\t%d\nfact\tcupti_library\t%u\n", CUPTI_API_VERSION, version);
	fprintf(file, "fact\twall_ns\t%lld\n",
		(long long)(now.tv_sec - started.tv_sec) * 1000000000LL + (now.tv_nsec - started.tv_nsec));
	fprintf(file, "fact\trecords\t%" PRIu64 "\nfact\tdropped\t%" PRIu64 "\n", records, dropped);
	fprintf(file, "fact\tbuffers_refused\t%u\nfact\tfurther_names\t%" PRIu64 "\n", atomic_load(&refused), tally.further);
	fprintf(file, "fact\terrors\t%s\n", errors);
	tally_write(file, &tally);
	pthread_mutex_unlock(&mutex);
	if (0 == fclose(file))
		rename(part, path);
}

static void pause_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, (milliseconds % 1000) * 1000000 };

	nanosleep(&time, NULL);
}

/* Everything that allocates happens in this thread, not in the handler of a signal. */
static void *write_out(void *unused)
{
	uint64_t written = 0;

	(void)unused;
	for (long waited = 0; !atomic_load(&asked); waited += POLL_MS) {
		pause_ms(POLL_MS);
		if (waited < WRITE_EVERY_MS)
			continue;
		waited = 0;
		cuptiActivityFlushAll(0);
		pthread_mutex_lock(&mutex);
		uint64_t seen = records;
		pthread_mutex_unlock(&mutex);
		if (seen != written)
			write_file("running");
		written = seen;
	}
	cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);

	char end[32] = "exit";

	if (atomic_load(&ended_by))
		snprintf(end, sizeof(end), "signal %d", atomic_load(&ended_by));
	write_file(end);
	atomic_store(&done, 1);
	return NULL;
}

static void finish(void)
{
	/* A child made by fork has the handlers, but neither the thread nor the GPU. */
	if (getpid() != process)
		return;
	atomic_store(&asked, 1);
	for (long waited = 0; !atomic_load(&done) && waited < END_WITHIN_MS; waited += POLL_MS)
		pause_ms(POLL_MS);
}

static void on_signal(int number)
{
	atomic_store(&ended_by, number);
	finish();
	sigaction(number, SIGABRT == number ? &previous_abort : &previous_term, NULL);
	raise(number);
}

static void handle_signals(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	sigaction(SIGABRT, &action, &previous_abort);
	sigaction(SIGTERM, NULL, &previous_term);
	/* A program that ends itself on SIGTERM reaches the end by its own way. */
	if (SIG_DFL == previous_term.sa_handler)
		sigaction(SIGTERM, &action, NULL);
}

int InitializeInjection(void);

__attribute__((visibility("default"))) int InitializeInjection(void)
{
	static const CUpti_ActivityKind kinds[] = {
		CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,  CUPTI_ACTIVITY_KIND_MEMCPY2,
		CUPTI_ACTIVITY_KIND_MEMSET,	       CUPTI_ACTIVITY_KIND_RUNTIME, CUPTI_ACTIVITY_KIND_DRIVER,
	};
	const char *folder = getenv("BART_TF_TRACE_FOLDER");
	pthread_t thread;
	sigset_t all, before;

	if (NULL == folder || 0 != process)
		return 1;
	process = getpid();
	clock_gettime(CLOCK_MONOTONIC, &started);
	snprintf(path, sizeof(path), "%s/trace-%d.tsv", folder, (int)process);
	snprintf(part, sizeof(part), "%s/trace-%d.part", folder, (int)process);
	check(cuptiActivityRegisterCallbacks(on_request, on_complete), "register callbacks");
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		check(cuptiActivityEnable(kinds[i]), "enable activity");
	write_file("running");

	/* Signals go to the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&thread, NULL, write_out, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed)
		return 1;
	pthread_detach(thread);
	handle_signals();
	atexit(finish);
	return 1;
}
