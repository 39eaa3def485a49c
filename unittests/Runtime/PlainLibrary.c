/* A shared library that is no model. */
int nju_nothing(void);
int nju_nothing(void) { return 0; }
