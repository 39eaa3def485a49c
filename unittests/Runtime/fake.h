/* What nju-compile writes beside the fake model. */
#ifndef NJU_MODEL_FAKE_H
#define NJU_MODEL_FAKE_H

#define NJU_FAKE_VOCABULARY 64
#define NJU_FAKE_MAX_TOKENS 40

extern const char nju_model_descriptor[];

static inline const void *nju_fake_descriptor(void) {
  return nju_model_descriptor;
}

#endif /* NJU_MODEL_FAKE_H */
