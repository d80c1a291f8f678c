// One inference step of recurrent optimizers on many rows, in float32, sixteen rows at a time: what lies between the
// hidden state that is read and the one that is written stays in registers and the first-level cache.
//
// Rows are the last axis of all tensors. Weights are packed as [outputs / 5, inputs, 5], outputs padded with zeros.

#include <cstring>

typedef float vec __attribute__((vector_size(32), aligned(4), may_alias));

enum { VECTORS = 2, ROWS = 8 * VECTORS, OUTPUTS = 5 };

// A rational function, to a few units in the last place everywhere; beyond the bound float32 has nothing but 1.
static inline vec tanh_of(vec x) {
  const vec bound = (vec){} + 7.90531110763549805f;
  x = x > bound ? bound : x;
  x = x < -bound ? -bound : x;
  const vec s = x * x;
  vec p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  vec q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}

static inline vec sigmoid_of(vec x) { return tanh_of(x * 0.5f) * 0.5f + 0.5f; }

static inline vec elu_of(vec x) {  // e^x - 1 = 2 t / (1 - t), t = tanh(x / 2)
  const vec t = tanh_of(x * 0.5f);
  return x > 0.0f ? x : 2.0f * t / (1.0f - t);
}

static inline vec load(const float *at) { return *(const vec *)at; }
static inline void store(float *at, vec value) { *(vec *)at = value; }

// out [outputs, ROWS] = bias + weight @ in [inputs, ROWS]
static inline void dense(long outputs, long inputs, const float *weight, const float *bias, const float *in,
                         float *out) {
  for (long o = 0; o < outputs; o += OUTPUTS, weight += inputs * OUTPUTS) {
    vec sum[OUTPUTS][VECTORS];
    for (int j = 0; j < OUTPUTS; j++)
      for (int v = 0; v < VECTORS; v++) sum[j][v] = (vec){} + (bias ? bias[o + j] : 0.0f);
    for (long i = 0; i < inputs; i++) {
      vec x[VECTORS];
      for (int v = 0; v < VECTORS; v++) x[v] = load(in + i * ROWS + 8 * v);
      for (int j = 0; j < OUTPUTS; j++)
        for (int v = 0; v < VECTORS; v++) sum[j][v] += weight[i * OUTPUTS + j] * x[v];
    }
    for (int j = 0; j < OUTPUTS; j++)
      for (int v = 0; v < VECTORS; v++) store(out + (o + j) * ROWS + 8 * v, sum[j][v]);
  }
}

static inline void gather(long units, const float *from, long stride, long rows, float *to) {
  for (long k = 0; k < units; k++) {
    __builtin_prefetch(from + k * stride + 4 * ROWS, 1);  // more streams than a processor foresees by itself
    if (rows == ROWS) {
      for (int v = 0; v < VECTORS; v++) store(to + k * ROWS + 8 * v, load(from + k * stride + 8 * v));
    } else {
      memset(to + k * ROWS, 0, ROWS * sizeof(float));
      memcpy(to + k * ROWS, from + k * stride, rows * sizeof(float));
    }
  }
}

// As gather, of a state whose rows need not lie side by side.
static inline void read(long features, const float *from, long stride, long row_stride, long rows, float *to) {
  if (row_stride == 1) return gather(features, from, stride, rows, to);
  for (long k = 0; k < features; k++)
    for (long r = 0; r < ROWS; r++) to[k * ROWS + r] = r < rows ? from[k * stride + r * row_stride] : 0.0f;
}

static inline void scatter(long units, const float *from, long rows, float *to, long stride) {
  for (long k = 0; k < units; k++) {
    if (rows == ROWS) {
      for (int v = 0; v < VECTORS; v++) store(to + k * stride + 8 * v, load(from + k * ROWS + 8 * v));
    } else {
      memcpy(to + k * stride, from + k * ROWS, rows * sizeof(float));
    }
  }
}

static inline void weighted_sum(long units, const float *weight, float bias, const float *in, long rows, float *out) {
  float found[ROWS];
  for (int v = 0; v < VECTORS; v++) {
    vec sum = (vec){} + bias;
    for (long k = 0; k < units; k++) sum += weight[k] * load(in + k * ROWS + 8 * v);
    store(found + 8 * v, sum);
  }
  memcpy(out, found, rows * sizeof(float));
}

static long padded(long outputs) { return (outputs + OUTPUTS - 1) / OUTPUTS * OUTPUTS; }

// in [inputs + units, ROWS], of which the second part is the previous h; c [units, ROWS]; the next h to `h`.
static inline void lstm(long units, long inputs, const float *weight, const float *bias, const float *in, float *c,
                        float *h, float *gates) {
  const long gate = padded(units) * ROWS;
  dense(4 * padded(units), inputs + units, weight, bias, in, gates);
  for (long k = 0; k < units * ROWS; k += 8) {
    const vec take = sigmoid_of(load(gates + k)), keep = sigmoid_of(load(gates + gate + k));
    const vec candidate = tanh_of(load(gates + 2 * gate + k)), show = sigmoid_of(load(gates + 3 * gate + k));
    const vec next = keep * load(c + k) + take * candidate;
    store(c + k, next);
    store(h + k, show * tanh_of(next));
  }
}

extern "C" {

// u = V h, h = tanh(W x + U h): state [features, rows], weight packed [units, features + units], output [units].
void advance_simple(long rows, long features, long units, const float *state, long stride, long row_stride,
                    float *h, long h_stride, const float *weight, const float *output, float *update, float *scratch) {
  float *in = scratch, *out = in + (features + units) * ROWS;
  for (long at = 0; at < rows; at += ROWS) {
    const long left = rows - at, here = left < (long)ROWS ? left : (long)ROWS;
    read(features, state + at * row_stride, stride, row_stride, here, in);
    gather(units, h + at, h_stride, here, in + features * ROWS);
    dense(padded(units), features + units, weight, 0, in, out);
    for (long k = 0; k < units * ROWS; k += 8) store(out + k, tanh_of(load(out + k)));
    scatter(units, out, here, h + at, h_stride);
    weighted_sum(units, output, 0.0f, out, here, update + at);
  }
}

// Two LSTM layers and a linear output; before them, where `input` is given, a linear layer with ELU.
void advance_two_layers(long rows, long features, long units, const float *state, long stride, long row_stride,
                        float *h1, float *c1, float *h2, float *c2, const long *strides, const float *input,
                        const float *input_bias, const float *first, const float *first_bias, const float *second,
                        const float *second_bias, const float *output, float output_bias, float *update,
                        float *scratch) {
  const long inputs = input ? units : features;
  float *entry = scratch, *in = entry + features * ROWS, *in2 = in + (padded(inputs) + units) * ROWS;
  float *cell = in2 + 2 * units * ROWS, *h = cell + units * ROWS, *gates = h + units * ROWS;
  for (long at = 0; at < rows; at += ROWS) {
    const long left = rows - at, here = left < (long)ROWS ? left : (long)ROWS;
    read(features, state + at * row_stride, stride, row_stride, here, input ? entry : in);
    if (input) {
      dense(padded(units), features, input, input_bias, entry, in);
      for (long k = 0; k < units * ROWS; k += 8) store(in + k, elu_of(load(in + k)));
    }
    gather(units, h1 + at, strides[0], here, in + inputs * ROWS);
    gather(units, c1 + at, strides[1], here, cell);
    lstm(units, inputs, first, first_bias, in, cell, in2, gates);
    scatter(units, in2, here, h1 + at, strides[0]);
    scatter(units, cell, here, c1 + at, strides[1]);
    gather(units, h2 + at, strides[2], here, in2 + units * ROWS);
    gather(units, c2 + at, strides[3], here, cell);
    lstm(units, units, second, second_bias, in2, cell, h, gates);
    scatter(units, h, here, h2 + at, strides[2]);
    scatter(units, cell, here, c2 + at, strides[3]);
    weighted_sum(units, output, output_bias, h, here, update + at);
  }
}
}
