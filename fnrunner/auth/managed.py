"""The policies that AWS manages and that templates around Lambda name, by ARN. They cannot be changed.

>>> document("arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")["Statement"][0]["Action"]
['logs:CreateLogGroup', 'logs:CreateLogStream', 'logs:PutLogEvents']

Source: AWS Managed Policy Reference, with what speaks of services that fnrunner knows nothing of kept as far as it
matters to what a function may call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PREFIX = "arn:aws:iam::aws:policy"
_LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
_ENI = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
_READ = ("lambda:Get*", "lambda:List*")
_FUNCTIONS_READ = ("fnrunner:GetFunctions*", "fnrunner:GetEvents*", "fnrunner:GetMappings", "fnrunner:GetUrls",
                   "fnrunner:GetSchedules", "fnrunner:GetHttpApis", "fnrunner:GetSubscriptions", "fnrunner:GetTopics",
                   "fnrunner:GetBuckets", "fnrunner:GetQueues", "fnrunner:GetStreams", "fnrunner:GetStacks*",
                   "fnrunner:GetStatus", "fnrunner:GetConcurrency", "fnrunner:GetAudit", "fnrunner:GetCode")  # fmt: skip
_FUNCTIONS = (*_FUNCTIONS_READ, "fnrunner:*Functions*", "fnrunner:PutMappingsRewind", "fnrunner:*Schedules*",
              "fnrunner:*HttpApis", "fnrunner:*Subscriptions", "fnrunner:*Stacks*", "fnrunner:PutStackCode")  # fmt: skip
"""What is about functions and what sets them off. Keys, signing profiles and the log of calls are not."""

_ADMIN = "AdministratorAccess"

_ALLOWED: Mapping[str, tuple[str, ...]] = {
    f"/{_ADMIN}": ("*",),
    "/ReadOnlyAccess": (*_READ, "iam:Get*", "iam:List*", "sts:GetCallerIdentity", "fnrunner:Get*"),
    "/IAMFullAccess": ("iam:*",),
    "/IAMReadOnlyAccess": ("iam:Get*", "iam:List*", "iam:GenerateCredentialReport", "iam:SimulateCustomPolicy"),
    "/AWSLambda_FullAccess": ("lambda:*", "iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetRole", "iam:GetRolePolicy",
                              "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:ListRoles", *_FUNCTIONS),
    "/AWSLambda_ReadOnlyAccess": (*_READ, "iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetRole", "iam:GetRolePolicy",
                                  "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:ListRoles",
                                  *_FUNCTIONS_READ),
    "/AWSLambdaExecute": ("logs:*", "s3:GetObject", "s3:PutObject"),
    "/AWSLambdaInvocation-DynamoDB": ("lambda:InvokeFunction", "dynamodb:DescribeStream", "dynamodb:GetRecords",
                                      "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
    "/AmazonS3ReadOnlyAccess": ("s3:Get*", "s3:List*", "s3:Describe*"),
    "/AmazonS3FullAccess": ("s3:*",),
    "/AmazonSQSFullAccess": ("sqs:*",),
    "/AmazonSNSFullAccess": ("sns:*",),
    "/AmazonDynamoDBFullAccess": ("dynamodb:*",),
    "/AmazonKinesisFullAccess": ("kinesis:*",),
    "/AWSXRayDaemonWriteAccess": ("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules",
                                  "xray:GetSamplingTargets", "xray:GetSamplingStatisticSummaries"),
    "/AWSXrayWriteOnlyAccess": ("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules",
                                "xray:GetSamplingTargets", "xray:GetSamplingStatisticSummaries"),
    "/CloudWatchLambdaInsightsExecutionRolePolicy": ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
    "/service-role/AWSLambdaRole": ("lambda:InvokeFunction",),
    "/service-role/AWSLambdaBasicExecutionRole": _LOGS,
    "/service-role/AWSLambdaVPCAccessExecutionRole": (*_LOGS, *_ENI),
    "/service-role/AWSLambdaENIManagementAccess": _ENI,
    "/service-role/AWSLambdaSQSQueueExecutionRole": ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
                                                     *_LOGS),
    "/service-role/AWSLambdaKinesisExecutionRole": ("kinesis:DescribeStream", "kinesis:DescribeStreamSummary",
                                                    "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards",
                                                    "kinesis:ListStreams", "kinesis:SubscribeToShard", *_LOGS),
    "/service-role/AWSLambdaDynamoDBExecutionRole": ("dynamodb:DescribeStream", "dynamodb:GetRecords",
                                                     "dynamodb:GetShardIterator", "dynamodb:ListStreams", *_LOGS),
    "/service-role/AWSLambdaMSKExecutionRole": ("kafka:DescribeCluster", "kafka:DescribeClusterV2",
                                                "kafka:GetBootstrapBrokers", *_ENI, "ec2:DescribeVpcs",
                                                "ec2:DescribeSecurityGroups", *_LOGS),
    "/service-role/AWSLambdaMQExecutionRole": ("mq:DescribeBroker", "secretsmanager:GetSecretValue", *_ENI, *_LOGS),
    "/service-role/AWSLambdaBasicDurableExecutionRolePolicy": (*_LOGS, "lambda:CheckpointDurableExecution",
                                                               "lambda:GetDurableExecutionState"),
}  # fmt: skip


def arns() -> Iterator[str]:
    """Of all of them."""
    return (PREFIX + name for name in _ALLOWED)


def document(arn: str) -> dict[str, Any] | None:
    """The policy's document; None for an ARN that is none of theirs."""
    if not arn.startswith(PREFIX) or (actions := _ALLOWED.get(arn.removeprefix(PREFIX))) is None:
        return None
    allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    statements: list[dict[str, Any]] = [allowed]
    if arn.endswith("/AWSLambda_FullAccess"):
        passed = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
        statements.append({"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*", "Condition": passed})
    return {"Version": "2012-10-17", "Statement": statements}


def admin() -> str:
    """The ARN of the policy that allows everything."""
    return f"{PREFIX}/{_ADMIN}"
