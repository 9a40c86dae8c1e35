; The memory functions that LLVM may call for a loop or a copy. They are part of every image, hidden, so that it imports nothing.

define hidden ptr @memcpy(ptr noalias returned writeonly %dst, ptr noalias readonly %src, i64 %n) #0 {
entry:
  %empty = icmp eq i64 %n, 0
  br i1 %empty, label %exit, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %from = getelementptr inbounds i8, ptr %src, i64 %i
  %to = getelementptr inbounds i8, ptr %dst, i64 %i
  %byte = load i8, ptr %from
  store i8 %byte, ptr %to
  %next = add nuw i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
  ret ptr %dst
}

define hidden ptr @memmove(ptr returned %dst, ptr readonly %src, i64 %n) #0 {
entry:
  %empty = icmp eq i64 %n, 0
  br i1 %empty, label %exit, label %choose
choose:
  %d = ptrtoint ptr %dst to i64
  %s = ptrtoint ptr %src to i64
  %distance = sub i64 %d, %s
  %forward = icmp uge i64 %distance, %n
  br i1 %forward, label %up, label %down
up:
  %i = phi i64 [ 0, %choose ], [ %i.next, %up ]
  %up.from = getelementptr inbounds i8, ptr %src, i64 %i
  %up.to = getelementptr inbounds i8, ptr %dst, i64 %i
  %up.byte = load i8, ptr %up.from
  store i8 %up.byte, ptr %up.to
  %i.next = add nuw i64 %i, 1
  %up.more = icmp ult i64 %i.next, %n
  br i1 %up.more, label %up, label %exit
down:
  %j = phi i64 [ %n, %choose ], [ %j.next, %down ]
  %j.next = add i64 %j, -1
  %down.from = getelementptr inbounds i8, ptr %src, i64 %j.next
  %down.to = getelementptr inbounds i8, ptr %dst, i64 %j.next
  %down.byte = load i8, ptr %down.from
  store i8 %down.byte, ptr %down.to
  %down.more = icmp ne i64 %j.next, 0
  br i1 %down.more, label %down, label %exit
exit:
  ret ptr %dst
}

define hidden ptr @memset(ptr returned writeonly %dst, i32 %value, i64 %n) #0 {
entry:
  %byte = trunc i32 %value to i8
  %empty = icmp eq i64 %n, 0
  br i1 %empty, label %exit, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %to = getelementptr inbounds i8, ptr %dst, i64 %i
  store i8 %byte, ptr %to
  %next = add nuw i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
  ret ptr %dst
}

define hidden i32 @memcmp(ptr readonly %lhs, ptr readonly %rhs, i64 %n) #0 {
entry:
  %empty = icmp eq i64 %n, 0
  br i1 %empty, label %equal, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %step ]
  %l.at = getelementptr inbounds i8, ptr %lhs, i64 %i
  %r.at = getelementptr inbounds i8, ptr %rhs, i64 %i
  %l = load i8, ptr %l.at
  %r = load i8, ptr %r.at
  %same = icmp eq i8 %l, %r
  br i1 %same, label %step, label %differ
step:
  %next = add nuw i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %equal
differ:
  %l32 = zext i8 %l to i32
  %r32 = zext i8 %r to i32
  %difference = sub i32 %l32, %r32
  ret i32 %difference
equal:
  ret i32 0
}

; Without this LLVM would turn each body into a call of itself.
attributes #0 = { nounwind willreturn "no-builtins" }
