;; The kernel that measures a machine: what scientific guests mostly do, in fixed amounts.
;;
;; Each round runs one row of an affine-free local alignment (integer, branches, loads and stores), one
;; step of a small stencil (double precision), and some dependent loads over 2 MiB (memory).
(module
  (memory (export "memory") 64)

  ;; Smith-Waterman-like row: h[j] = max(0, h[j-1] + s, h[j] - g, left - g), scores drawn from a counter.
  (func $row (param $seed i32)
    (local $j i32) (local $diagonal i32) (local $left i32) (local $up i32) (local $best i32)
    (loop $next
      (local.set $up (i32.load (local.get $j)))
      (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set $best
        (i32.add (local.get $diagonal)
          (i32.sub (i32.and (i32.shr_u (local.get $seed) (i32.const 28)) (i32.const 15)) (i32.const 9))))
      (if (i32.lt_s (local.get $best) (i32.const 0)) (then (local.set $best (i32.const 0))))
      (if (i32.lt_s (local.get $best) (i32.sub (local.get $up) (i32.const 2)))
        (then (local.set $best (i32.sub (local.get $up) (i32.const 2)))))
      (if (i32.lt_s (local.get $best) (i32.sub (local.get $left) (i32.const 2)))
        (then (local.set $best (i32.sub (local.get $left) (i32.const 2)))))
      (i32.store (local.get $j) (local.get $best))
      (local.set $diagonal (local.get $up))
      (local.set $left (local.get $best))
      (local.set $j (i32.add (local.get $j) (i32.const 4)))
      (br_if $next (i32.lt_u (local.get $j) (i32.const 4096)))))

  ;; One step of heat flow over 1024 doubles at 64 KiB.
  (func $stencil
    (local $i i32) (local $before f64) (local $here f64)
    (local.set $i (i32.const 65544))
    (local.set $before (f64.const 1))
    (loop $next
      (local.set $here (f64.load (local.get $i)))
      (f64.store (local.get $i)
        (f64.add (local.get $here)
          (f64.mul (f64.const 0.24)
            (f64.add
              (f64.sub (local.get $before) (f64.mul (f64.const 2) (local.get $here)))
              (f64.load offset=8 (local.get $i))))))
      (local.set $before (local.get $here))
      (local.set $i (i32.add (local.get $i) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 73728)))))

  ;; A walk of dependent loads through 2 MiB at 1 MiB; the step depends on what was loaded.
  (func $walk (param $at i32) (result i32)
    (local $n i32)
    (loop $next
      (local.set $at
        (i32.and
          (i32.add
            (i32.add (i32.mul (local.get $at) (i32.const 1103515245)) (i32.const 12345))
            (i32.load offset=1048576 (local.get $at)))
          (i32.const 0x1ffffc)))
      (i32.store offset=1048576 (local.get $at) (local.get $n))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 256))))
    (local.get $at))

  (func (export "_start")
    (local $round i32) (local $at i32)
    (loop $next
      (call $row (local.get $round))
      (call $stencil)
      (local.set $at (call $walk (local.get $at)))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $round) (i32.const 3000))))))
