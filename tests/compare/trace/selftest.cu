/* A CUDA program with known operations, against which the tracer is checked.
 *
 *   selftest counts       known numbers and sizes of memsets, copies and kernels; prints them as JSON
 *   selftest abort        the same, and then it aborts as BART does when it frees wrongly
 *   selftest vanish       the same, and after two seconds it ends without running anything that is due at exit
 *   selftest durations    long operations, each between two CUDA events; prints the events' sums as JSON
 *   selftest many         200,000 launches of a tiny kernel; prints the seconds they took
 */

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime.h>
#include <unistd.h>

#define CHECK(call)                                                                                                    \
	do {                                                                                                           \
		cudaError_t error = (call);                                                                            \
		if (cudaSuccess != error) {                                                                            \
			fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error));                                 \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static const size_t KIB = 1024, MIB = 1024 * KIB;

__global__ void known_add(float *values, int count)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < count)
		values[i] += 1.f;
}

__global__ void known_wait(long long nanoseconds)
{
	unsigned long long now, start;
	asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
	do {
		asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
	} while ((long long)(now - start) < nanoseconds);
}

static void counts()
{
	const int memsets = 7, small_memsets = 5, uploads = 11, downloads = 6, copies = 4, adds = 23, waits = 3;
	char *host, *first, *second;

	CHECK(cudaMallocHost(&host, MIB));
	CHECK(cudaMalloc(&first, 4 * MIB));
	CHECK(cudaMalloc(&second, 4 * MIB));
	memset(host, 0, MIB);
	for (int i = 0; i < memsets; i++)
		CHECK(cudaMemset(first + (i % 4) * MIB, 0, MIB));
	for (int i = 0; i < small_memsets; i++)
		CHECK(cudaMemsetAsync(second, 0, 64 * KIB));
	for (int i = 0; i < uploads; i++)
		CHECK(cudaMemcpy(first, host, 256 * KIB, cudaMemcpyHostToDevice));
	for (int i = 0; i < downloads; i++)
		CHECK(cudaMemcpyAsync(host, first, 128 * KIB, cudaMemcpyDeviceToHost));
	for (int i = 0; i < copies; i++)
		CHECK(cudaMemcpyAsync(second, first, 4 * MIB, cudaMemcpyDeviceToDevice));
	for (int i = 0; i < adds; i++)
		known_add<<<64, 256>>>((float *)first, 64 * 256);
	for (int i = 0; i < waits; i++)
		known_wait<<<1, 1>>>(100000);
	CHECK(cudaGetLastError());
	CHECK(cudaDeviceSynchronize());
	printf("{\"memset\": [%d, %zu], \"HtoD\": [%d, %zu], \"DtoH\": [%d, %zu], \"DtoD\": [%d, %zu], \"known_add\": [%d, 0], "
	       "\"known_wait\": [%d, 0], \"cudaLaunchKernel\": [%d, 0]}\n",
	       memsets + small_memsets, memsets * MIB + small_memsets * 64 * KIB, uploads, uploads * 256 * KIB, downloads,
	       downloads * 128 * KIB, copies, copies * 4 * MIB, adds, waits, adds + waits);
	fflush(stdout);
	CHECK(cudaFree(first));
	CHECK(cudaFree(second));
	CHECK(cudaFreeHost(host));
}

template <typename Work> static double events_ns(int times, Work work)
{
	cudaEvent_t begin, end;
	double total_ns = 0;

	CHECK(cudaEventCreate(&begin));
	CHECK(cudaEventCreate(&end));
	for (int i = 0; i < times; i++) {
		float ms = 0;
		CHECK(cudaEventRecord(begin));
		work();
		CHECK(cudaEventRecord(end));
		CHECK(cudaEventSynchronize(end));
		CHECK(cudaEventElapsedTime(&ms, begin, end));
		total_ns += ms * 1e6;
	}
	return total_ns;
}

static void durations()
{
	const size_t large = 1024 * MIB, upload = 256 * MIB;
	char *host, *first, *second;

	CHECK(cudaMallocHost(&host, upload));
	CHECK(cudaMalloc(&first, large));
	CHECK(cudaMalloc(&second, large));
	memset(host, 0, upload);
	printf("{\"memset\": %.0f", events_ns(20, [&] { CHECK(cudaMemsetAsync(first, 0, large)); }));
	printf(", \"HtoD\": %.0f", events_ns(10, [&] { CHECK(cudaMemcpyAsync(first, host, upload, cudaMemcpyHostToDevice)); }));
	printf(", \"DtoH\": %.0f", events_ns(10, [&] { CHECK(cudaMemcpyAsync(host, first, upload, cudaMemcpyDeviceToHost)); }));
	printf(", \"DtoD\": %.0f", events_ns(20, [&] { CHECK(cudaMemcpyAsync(second, first, large, cudaMemcpyDeviceToDevice)); }));
	printf(", \"known_wait\": %.0f}\n", events_ns(20, [&] { known_wait<<<1, 1>>>(3000000); }));
	CHECK(cudaGetLastError());
}

static void many()
{
	float *values;
	CHECK(cudaMalloc(&values, MIB));
	known_add<<<1, 256>>>(values, 256);
	CHECK(cudaDeviceSynchronize());
	auto start = std::chrono::steady_clock::now();
	for (int i = 0; i < 200000; i++)
		known_add<<<1, 256>>>(values, 256);
	CHECK(cudaDeviceSynchronize());
	printf("%f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
	CHECK(cudaFree(values));
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "counts";

	if (0 == strcmp(what, "durations"))
		durations();
	else if (0 == strcmp(what, "many"))
		many();
	else
		counts();
	if (0 == strcmp(what, "abort"))
		abort();
	if (0 == strcmp(what, "vanish")) {
		sleep(2);
		_exit(0);
	}
	return 0;
}
