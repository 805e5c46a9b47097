;; The smallest WASI command: one page of memory, returns at once. For measuring everything around a task.
(module
  (memory (export "memory") 1)
  (func (export "_start")))
