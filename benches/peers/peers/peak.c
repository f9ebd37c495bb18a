// What one core and all threads of this machine can do at most, measured without any library: `peak THREADS` prints JSON with, for one thread and for
// THREADS, products of AMX tiles that stay in registers (bf16, int8), AVX-512 or AVX2 fused multiply-adds on f32, and reads of memory far beyond the
// caches. What the processor lacks is null. The best of many passes counts.
#define _GNU_SOURCE
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PASSES = 10, THREADS_MAX = 256 };
#define READ_BYTES (1ull << 29)

typedef struct {
  double (*work)(void *); // returns operations or bytes
  void *memory;
  pthread_barrier_t *start;
  double amount;
} Turn;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static int may_use_tiles(void) {
  // Linux hands tile registers out on request: ARCH_REQ_XCOMP_PERM for XTILEDATA.
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

__attribute__((target("amx-tile"))) static void load_tile_shapes(void) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) {
    shapes.row_bytes[tile] = 64;
    shapes.rows[tile] = 16;
  }
  // The intrinsic tells the compiler of eight bytes only; without this the other stores are gone.
  __asm__ volatile("" : : "r"(&shapes) : "memory");
  _tile_loadconfig(&shapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
}

enum { TILE_STEPS = 1 << 20 };

__attribute__((target("amx-tile,amx-bf16"))) static double tiles_bf16(void *unused) {
  (void)unused;
  load_tile_shapes();
  for (int step = 0; step < TILE_STEPS; step++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 4.0 * TILE_STEPS * 2 * 16 * 16 * 32;
}

__attribute__((target("amx-tile,amx-int8"))) static double tiles_int8(void *unused) {
  (void)unused;
  load_tile_shapes();
  for (int step = 0; step < TILE_STEPS; step++) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
  return 4.0 * TILE_STEPS * 2 * 16 * 16 * 64;
}

enum { FMA_STEPS = 1 << 22 };

__attribute__((target("avx512f"))) static double fma_avx512(void *unused) {
  (void)unused;
  __m512 sums[12], factor = _mm512_set1_ps(0.999f), term = _mm512_set1_ps(0.001f);
  for (int at = 0; at < 12; at++) sums[at] = _mm512_set1_ps((float)at);
  for (int step = 0; step < FMA_STEPS; step++)
    for (int at = 0; at < 12; at++) sums[at] = _mm512_fmadd_ps(sums[at], factor, term);
  volatile float kept = 0;
  for (int at = 0; at < 12; at++) kept += _mm512_reduce_add_ps(sums[at]);
  return 12.0 * FMA_STEPS * 2 * 16;
}

__attribute__((target("avx2,fma"))) static double fma_avx2(void *unused) {
  (void)unused;
  __m256 sums[12], factor = _mm256_set1_ps(0.999f), term = _mm256_set1_ps(0.001f);
  for (int at = 0; at < 12; at++) sums[at] = _mm256_set1_ps((float)at);
  for (int step = 0; step < FMA_STEPS; step++)
    for (int at = 0; at < 12; at++) sums[at] = _mm256_fmadd_ps(sums[at], factor, term);
  volatile float kept = 0;
  for (int at = 0; at < 12; at++) kept += _mm256_cvtss_f32(sums[at]);
  return 12.0 * FMA_STEPS * 2 * 8;
}

__attribute__((target("avx2"))) static double reads(void *memory) {
  const char *from = memory, *end = from + READ_BYTES;
  __m256i sums[8];
  memset(sums, 0, sizeof sums);
  for (; from < end; from += 256)
    for (int at = 0; at < 8; at++) sums[at] = _mm256_xor_si256(sums[at], _mm256_load_si256((const __m256i *)(from + 32 * at)));
  volatile int kept = 0;
  for (int at = 0; at < 8; at++) kept ^= _mm256_extract_epi32(sums[at], 0);
  return (double)READ_BYTES;
}

static void *run(void *argument) {
  Turn *turn = argument;
  pthread_barrier_wait(turn->start);
  turn->amount = turn->work(turn->memory);
  return NULL;
}

// The most that `threads` threads did per second, all together.
static double best(double (*work)(void *), int threads, char *memory) {
  double most = 0;
  for (int pass = 0; pass < PASSES; pass++) {
    pthread_t handles[THREADS_MAX];
    Turn turns[THREADS_MAX];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, threads + 1);
    for (int at = 0; at < threads; at++) {
      turns[at] = (Turn){.work = work, .memory = memory ? memory + at * READ_BYTES : NULL, .start = &start};
      pthread_create(&handles[at], NULL, run, &turns[at]);
    }
    double amount = 0, started = now();
    pthread_barrier_wait(&start);
    for (int at = 0; at < threads; at++) {
      pthread_join(handles[at], NULL);
      amount += turns[at].amount;
    }
    double speed = amount / (now() - started);
    if (speed > most) most = speed;
    pthread_barrier_destroy(&start);
  }
  return most;
}

static void print(const char *name, double (*work)(void *), int threads, char *memory) {
  if (!work) {
    printf("\"%s_one\": null, \"%s\": null", name, name);
    return;
  }
  double one = best(work, 1, memory);
  printf("\"%s_one\": %.6g, \"%s\": %.6g", name, one, name, best(work, threads, memory));
}

int main(int count, char **words) {
  int threads = count > 1 ? atoi(words[1]) : 0;
  if (threads < 1 || threads > THREADS_MAX) {
    fprintf(stderr, "usage: peak THREADS, 1 to %d\n", THREADS_MAX);
    return 2;
  }
  unsigned a = 0, b = 0, c = 0, d = 0;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  int has_tiles = (d >> 24 & 1) && may_use_tiles();
  char *memory = aligned_alloc(1 << 21, threads * READ_BYTES);
  if (!memory) {
    fprintf(stderr, "peak: no memory\n");
    return 1;
  }
  memset(memory, 1, threads * READ_BYTES);
  printf("{");
  print("tile_bf16_flops", has_tiles && (d >> 22 & 1) ? tiles_bf16 : NULL, threads, NULL);
  printf(", ");
  print("tile_int8_ops", has_tiles && (d >> 25 & 1) ? tiles_int8 : NULL, threads, NULL);
  printf(", ");
  print("fma_f32_flops", __builtin_cpu_supports("avx512f") ? fma_avx512 : fma_avx2, threads, NULL);
  printf(", ");
  print("read_bytes_per_second", reads, threads, memory);
  printf("}\n");
  free(memory);
  return 0;
}
