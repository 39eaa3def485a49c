/* Generates tokens with a model that is linked into the program.
 *
 * usage: embed-c WEIGHTS COUNT TOKEN...
 * prints COUNT tokens that follow the given ones, comma-separated.
 *
 * A program of your own includes the header of its model, "my-model.h", and
 * writes nju_my_model_descriptor() where this one lets CMake fill in the name.
 */
#include MODEL_HEADER
#include <nju/nju.h>
#include <stdio.h>
#include <stdlib.h>

static void check(nju_status status) {
  if (status == NJU_OK)
    return;
  fprintf(stderr, "embed-c: error: %s\n", nju_last_error_message());
  exit(1);
}

static int32_t find_largest(const float *logits) {
  int32_t best = 0;
  for (int32_t i = 1; i < MODEL_VOCABULARY; ++i)
    if (logits[i] > logits[best])
      best = i;
  return best;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: embed-c WEIGHTS COUNT TOKEN...\n");
    return 1;
  }
  nju_model_options options = {.weights_path = argv[1]};
  nju_model *model;
  check(nju_model_open(MODEL_DESCRIPTOR(), &options, &model));

  nju_session_options limits = {.max_sequences = 1};
  nju_session *session;
  check(nju_session_create(model, &limits, &session));

  size_t num_tokens = (size_t)argc - 3;
  int32_t *tokens = malloc(num_tokens * sizeof(*tokens));
  for (size_t i = 0; i < num_tokens; ++i)
    tokens[i] = atoi(argv[i + 3]);

  /* The first step reads the prompt, every other one the token before. */
  static float logits[MODEL_VOCABULARY];
  int count = atoi(argv[2]);
  for (int i = 0; i < count; ++i) {
    int32_t last = (int32_t)num_tokens - 1;
    nju_batch batch = {.num_tokens = num_tokens,
                       .tokens = tokens,
                       .num_rows = 1,
                       .rows = &last};
    check(nju_session_step(session, &batch, logits));
    tokens[0] = find_largest(logits);
    num_tokens = 1;
    printf("%s%d", i ? "," : "", (int)tokens[0]);
  }
  printf("\n");

  free(tokens);
  nju_session_release(session);
  nju_model_release(model);
  return 0;
}
