/* What a GPU can do: bytes per second of a copy, and FLOP per second of fused multiply-adds without tensor cores.
 * Prints one JSON object. Each figure is the best of five repetitions, timed by CUDA events. */

#include <cstdio>
#include <cstdlib>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define CHECK(call)                                                                                                    \
	do {                                                                                                           \
		cudaError_t error = (call);                                                                            \
		if (cudaSuccess != error) {                                                                            \
			fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error));                                 \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static const int CHAINS = 8, STEPS = 4096, THREADS = 256;

__global__ void copy(const float4 *from, float4 *to, size_t count)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x)
		to[i] = from[i];
}

template <typename T> __device__ T step(T a, T b, T c) { return fma(a, b, c); }
template <> __device__ __half2 step(__half2 a, __half2 b, __half2 c) { return __hfma2(a, b, c); }

template <typename T> __global__ void multiply_add(T *out, T factor, T start)
{
	T values[CHAINS];
#pragma unroll
	for (int k = 0; k < CHAINS; k++)
		values[k] = start;
	for (int i = 0; i < STEPS; i++)
#pragma unroll
		for (int k = 0; k < CHAINS; k++)
			values[k] = step(values[k], factor, start);
	/* Written, so that the compiler keeps the work. */
#pragma unroll
	for (int k = 0; k < CHAINS; k++)
		out[(blockIdx.x * (size_t)blockDim.x + threadIdx.x) * CHAINS + k] = values[k];
}

template <typename Work> static double best_s(Work work)
{
	cudaEvent_t begin, end;
	float best_ms = 1e30f;

	CHECK(cudaEventCreate(&begin));
	CHECK(cudaEventCreate(&end));
	for (int repetition = 0; repetition < 6; repetition++) {
		float ms = 0;
		CHECK(cudaEventRecord(begin));
		work();
		CHECK(cudaEventRecord(end));
		CHECK(cudaEventSynchronize(end));
		CHECK(cudaGetLastError());
		CHECK(cudaEventElapsedTime(&ms, begin, end));
		if (repetition > 0 && ms < best_ms)
			best_ms = ms;
	}
	return best_ms / 1e3;
}

template <typename T> static double flop_per_s(int blocks, T factor, T start, int flop_per_step)
{
	T *out;
	CHECK(cudaMalloc(&out, (size_t)blocks * THREADS * CHAINS * sizeof(T)));
	double s = best_s([&] { multiply_add<T><<<blocks, THREADS>>>(out, factor, start); });
	CHECK(cudaFree(out));
	return (double)blocks * THREADS * CHAINS * STEPS * flop_per_step / s;
}

int main()
{
	cudaDeviceProp device;
	CHECK(cudaGetDeviceProperties(&device, 0));
	const int blocks = device.multiProcessorCount * 16;
	const size_t bytes = (size_t)1 << 30;
	float4 *from, *to;

	CHECK(cudaMalloc(&from, bytes));
	CHECK(cudaMalloc(&to, bytes));
	CHECK(cudaMemset(from, 1, bytes));
	double copy_s = best_s([&] { copy<<<blocks, THREADS>>>(from, to, bytes / sizeof(float4)); });

	printf("{\"name\": \"%s\", \"copy_bytes_per_s\": %.6g, \"fp64\": %.6g, \"fp32\": %.6g, \"fp16\": %.6g}\n", device.name,
	       2.0 * bytes / copy_s, flop_per_s<double>(blocks, 0.5, 1.0, 2), flop_per_s<float>(blocks, 0.5f, 1.0f, 2),
	       flop_per_s<__half2>(blocks, __float2half2_rn(0.5f), __float2half2_rn(1.0f), 4));
	return 0;
}
