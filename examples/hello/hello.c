// Shows what a task sees: its arguments and environment, its own input, the shared files in /in.
// Writes a greeting to stdout and a copy of its input, in capitals, to /out/loud.txt.

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv) {
  printf("hello from %s\n", argv[0]);
  for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
  for (char **entry = environ; *entry != NULL; entry++) printf("environment: %s\n", *entry);

  DIR *folder = opendir("/in");
  for (struct dirent *file; folder != NULL && (file = readdir(folder)) != NULL;)
    if (file->d_name[0] != '.') printf("shared file: /in/%s\n", file->d_name);

  FILE *loud = fopen("/out/loud.txt", "w");
  if (loud == NULL) {
    fprintf(stderr, "hello: cannot create /out/loud.txt: %s\n", strerror(errno));
    return 1;
  }
  int bytes = 0;
  for (int c; (c = getchar()) != EOF; bytes++) putc(toupper(c), loud);
  printf("own input: %d bytes\n", bytes);
  return fclose(loud) == 0 ? 0 : 1;
}
