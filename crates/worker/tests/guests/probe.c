// A guest that tries what programs do through a C library: prints what it sees, leaves files in /out.
// Built by guests/build.sh; what it must print is in guests.rs.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void list(const char *folder) {
  DIR *open = opendir(folder);
  struct dirent *entry;
  printf("%s:", folder);
  while (open && (entry = readdir(open))) printf(" %s%s", entry->d_name, entry->d_type == DT_DIR ? "/" : "");
  printf("\n");
  if (open) closedir(open);
}

static void refused(const char *path) {
  FILE *file = fopen(path, "r");
  printf("%s: %s\n", path, file ? "OPENED" : strerror(errno));
}

int main(int argc, char **argv) {
  for (int n = 0; n < argc; n++) printf("argv[%d]=%s\n", n, argv[n]);
  printf("COLOUR=%s\n", getenv("COLOUR"));

  char line[100];
  int lines = 0;
  while (fgets(line, sizeof line, stdin)) lines++;
  printf("stdin lines: %d\n", lines);

  FILE *in = fopen("/in/data.txt", "r");
  double sum = 0, x;
  while (in && fscanf(in, "%lf", &x) == 1) sum += sqrt(x);
  printf("sum of roots: %.17g\n", sum);
  if (in) fclose(in);

  struct stat about;
  if (stat("in/data.txt", &about)) return 2;
  printf("size %lld, inode %llu, changed %lld\n", (long long)about.st_size, (unsigned long long)about.st_ino,
         (long long)about.st_mtime);
  list("/");
  list("/in");

  if (mkdir("/out/sub", 0777)) return 3;
  FILE *out = fopen("/out/sub/result.txt", "w+");
  if (!out) return 4;
  fprintf(out, "sum %.3f\n", sum);
  fseek(out, 0, SEEK_SET);
  fprintf(out, "SUM");
  fclose(out);
  out = fopen("/out/sub/result.txt", "a");
  fprintf(out, "appended\n");
  fclose(out);
  out = fopen("/tmp/scratch", "w");
  fprintf(out, "moved");
  fclose(out);
  if (rename("/tmp/scratch", "/out/moved.txt")) return 5;
  if (!fopen("/out/gone", "w") || unlink("/out/gone")) return 6;
  if (truncate("/out/moved.txt", 3)) return 7;
  list("/out");
  list("/out/sub");

  refused("/etc/passwd");
  refused("../../etc/passwd");
  refused("/in/../../etc/passwd");
  refused("/proc/self/mem");
  if (fopen("/in/data.txt", "w")) return 8;
  printf("writing to /in: %s\n", strerror(errno));

  struct timespec before, after, second = {1, 0};
  clock_gettime(CLOCK_REALTIME, &before);
  nanosleep(&second, NULL);
  clock_gettime(CLOCK_REALTIME, &after);
  printf("slept %lld s from %lld\n", (long long)(after.tv_sec - before.tv_sec), (long long)before.tv_sec);

  unsigned char bytes[8];
  getentropy(bytes, sizeof bytes);
  for (int n = 0; n < 8; n++) printf("%02x", bytes[n]);
  printf("\n");
  fprintf(stderr, "done\n");
  return 42;
}
